// gru-reset-before: one time step with the reset gate before the product (Cho et al. 2014); gates r, z, n:
//   r = σ(a_r)  z = σ(a_z)  n = tanh(x·W_inᵀ + b_in + (r ⊙ h)·W_hnᵀ + b_hn)   with a = x·W_ihᵀ + b_ih + h·W_hhᵀ + b_hh
//   h′ = (1 − z) ⊙ n + z ⊙ h
import source from "../../shaders/gru-reset-before.wgsl?raw";
import { sigmoid } from "./recurrent.ts";
import { stepsBefore } from "./steps-before.ts";

export const { kernel: gruResetBefore, steps: stepsOfGruResetBefore } = stepsBefore("gru-reset-before", source, 3, {
  activate(g) {
    g[0] = sigmoid(g[0]!);
    g[1] = sigmoid(g[1]!);
  },
  forward: ([, z, n], before) => (1 - z!) * n! + z! * before,
  backward([, z, n], before, dh, d) {
    d[1] = dh * (before - n!) * z! * (1 - z!);
    d[2] = dh * (1 - z!) * (1 - n! * n!);
    return dh * z!;
  },
  gate: (_, r, dr) => dr * r * (1 - r),
});
