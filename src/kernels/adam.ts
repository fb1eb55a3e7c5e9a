// adam: m = β₁·m + (1 − β₁)·g, v = β₂·v + (1 − β₂)·g², p −= lr/c₁ · m / (√v/√c₂ + ε), cᵢ = 1 − βᵢᵗ (Kingma & Ba 2015).
// The weight decay is added to g, as torch.optim.Adam does, or, decoupled, taken off p before: p −= lr·weightDecay·p
// (AdamW, Loshchilov & Hutter 2019). g counts up to ±2⁶². All tensors are flat, `count` vec4s; c₁ and c₂ come with `schedule`.
import source from "../../shaders/adam.wgsl?raw";
import { defineKernel, entry, linearWorkgroups } from "../runtime/kernel.ts";
import { optimizerCases, OPTIMIZER_ITEMS, SCHEDULE, squarable } from "./optimizers.ts";
import { METRIC } from "./reduce.ts";

const update = entry({
  // 1 − β, not β: in f32 the difference of 1 and 0.999 keeps too few digits.
  params: {
    count: "u32",
    decayed: "u32",
    decoupled: "u32",
    oneMinusBeta1: "f32",
    oneMinusBeta2: "f32",
    epsilon: "f32",
    weightDecay: "f32",
  },
  bindings: {
    parameters: "read_write",
    gradients: "read",
    m: "read_write",
    v: "read_write",
    schedule: "read",
    metrics: "read",
  },
  workgroups: ({ count }) => linearWorkgroups(count, OPTIMIZER_ITEMS),
  work: ({ count }) => 60 * count,
  reference({ parameters, gradients, m, v, schedule, metrics }, params) {
    const { count, decayed, decoupled, oneMinusBeta1, oneMinusBeta2, epsilon, weightDecay } = params;
    if (metrics[METRIC.skipped]! > 0) return;
    const learningRate = schedule[SCHEDULE.learningRate]!;
    const correction1 = schedule[SCHEDULE.biasCorrection1]!;
    const correction2 = Math.sqrt(schedule[SCHEDULE.biasCorrection2]!);
    for (let i = 0; i < 4 * count; i++) {
      const decay = i < 4 * decayed ? weightDecay : 0;
      let g = gradients[i]! * metrics[METRIC.factor]!;
      let p = parameters[i]!;
      if (decoupled) p *= 1 - learningRate * decay;
      else g += decay * p;
      g = squarable(g);
      m[i] = (1 - oneMinusBeta1) * m[i]! + oneMinusBeta1 * g;
      v[i] = (1 - oneMinusBeta2) * v[i]! + oneMinusBeta2 * g * g;
      parameters[i] = p - ((learningRate / correction1) * m[i]!) / (Math.sqrt(v[i]!) / correction2 + epsilon);
    }
  },
  cases: () =>
    optimizerCases(
      [
        { decoupled: 0, oneMinusBeta1: 1 - 0.9, oneMinusBeta2: 1 - 0.999, epsilon: 1e-8, weightDecay: 0.01 },
        { decoupled: 1, oneMinusBeta1: 1 - 0.9, oneMinusBeta2: 1 - 0.95, epsilon: 1e-8, weightDecay: 0.1 },
      ],
      ["m", "v"],
    ),
});

export const adam = defineKernel("adam", source, { update });
