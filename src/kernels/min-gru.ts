// min-gru: a scan whose gates do not see h (Feng et al. 2024, "Were RNNs All We Needed?"), gates in the order g, z:
//   z = σ(a_z)   g = a_g + ½ for a_g ≥ 0, else σ(a_g)   with a = x·W_ihᵀ + b_ih
//   h′ = (1 − z) ⊙ h + z ⊙ g
import source from "../../shaders/min-gru.wgsl?raw";
import { sigmoid } from "./recurrent.ts";
import { candidate, scanKernel, slopeOfCandidate, type ScanEpilogues } from "./scan.ts";
import { scanCell } from "./scan-cell.ts";

const epilogues: ScanEpilogues = {
  gates: ["g", "z"],
  activate(kept) {
    kept[0] = candidate(kept[0]!);
    kept[1] = sigmoid(kept[1]!);
  },
  stepOf: ([g, z]) => [1 - z!, z! * g!],
  gradientsOf(kept, before, d) {
    const [g, z] = kept as unknown as readonly [number, number];
    kept[0] = d * z * slopeOfCandidate(g);
    kept[1] = d * (g - before) * z * (1 - z);
  },
};

export const minGru = scanKernel("min-gru", source, epilogues);

export const minGruCell = scanCell({
  ...epilogues,
  name: "min-gru",
  kernel: minGru,
  parts: ([g, z], h) => ({ "(1 − z) ⊙ h": (1 - z!) * h, "z ⊙ g": z! * g! }),
  inBlock: "to_hidden_and_gate",
});
