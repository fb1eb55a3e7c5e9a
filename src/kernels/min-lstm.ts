// min-lstm: a scan whose gates do not see h (Feng et al. 2024, "Were RNNs All We Needed?"), gates in the order g, f, i:
//   f′ = σ(a_f) / (σ(a_f) + σ(a_i))   g = a_g + ½ for a_g ≥ 0, else σ(a_g)   with a = x·W_ihᵀ + b_ih
//   h′ = f′ ⊙ h + (1 − f′) ⊙ g
// Kept are g, f′ and i = σ(a_i), of which backward makes all it needs: (1 − f′) σ(a_f) = f′ σ(a_i).
import source from "../../shaders/min-lstm.wgsl?raw";
import { sigmoid } from "./recurrent.ts";
import { candidate, scanKernel, slopeOfCandidate, type ScanEpilogues } from "./scan.ts";
import { scanCell } from "./scan-cell.ts";

/** σ(f) / (σ(f) + σ(i)), where both may be too small for a number. */
function forgetShare(f: number, i: number): number {
  const difference = Math.min(f, 0) - Math.min(i, 0);
  const less = Math.exp(-Math.abs(difference));
  const forget = (difference >= 0 ? 1 : less) * (1 + Math.exp(-Math.abs(i)));
  const write = (difference > 0 ? less : 1) * (1 + Math.exp(-Math.abs(f)));
  return forget / (forget + write);
}

const epilogues: ScanEpilogues = {
  gates: ["g", "f′", "i"],
  activate(kept) {
    const [u, f, i] = kept as unknown as readonly [number, number, number];
    kept[0] = candidate(u);
    kept[1] = forgetShare(f, i);
    kept[2] = sigmoid(i);
  },
  stepOf: ([g, f]) => [f!, (1 - f!) * g!],
  gradientsOf(kept, before, d) {
    const [g, f, i] = kept as unknown as readonly [number, number, number];
    const dF = d * (before - g) * f;
    kept[0] = d * (1 - f) * slopeOfCandidate(g);
    kept[1] = dF * (1 - f - f * i);
    kept[2] = -dF * (1 - f) * (1 - i);
  },
};

export const minLstm = scanKernel("min-lstm", source, epilogues);

export const minLstmCell = scanCell({
  ...epilogues,
  name: "min-lstm",
  kernel: minLstm,
  parts: ([g, f], h) => ({ "f′ ⊙ h": f! * h, "(1 − f′) ⊙ g": (1 - f!) * g! }),
  inBlock: "to_hidden_and_gates",
});
