// rmsprop: v = α·v + (1 − α)·g², p −= lr·g / (√v + ε), with g + weightDecay·p for g: torch.optim.RMSprop,
// without momentum, not centred. g counts up to ±2⁶². All tensors are flat, `count` vec4s.
import source from "../../shaders/rmsprop.wgsl?raw";
import { defineKernel, entry, linearWorkgroups } from "../runtime/kernel.ts";
import { optimizerCases, OPTIMIZER_ITEMS, SCHEDULE, squarable } from "./optimizers.ts";
import { METRIC } from "./reduce.ts";

const update = entry({
  // 1 − α, not α: in f32 the difference of 1 and 0.99 keeps too few digits.
  params: { count: "u32", decayed: "u32", oneMinusAlpha: "f32", epsilon: "f32", weightDecay: "f32" },
  bindings: { parameters: "read_write", gradients: "read", v: "read_write", schedule: "read", metrics: "read" },
  workgroups: ({ count }) => linearWorkgroups(count, OPTIMIZER_ITEMS),
  work: ({ count }) => 40 * count,
  reference({ parameters, gradients, v, schedule, metrics }, { count, decayed, oneMinusAlpha, epsilon, weightDecay }) {
    if (metrics[METRIC.skipped]! > 0) return;
    for (let i = 0; i < 4 * count; i++) {
      const decay = i < 4 * decayed ? weightDecay : 0;
      const g = squarable(gradients[i]! * metrics[METRIC.factor]! + decay * parameters[i]!);
      v[i] = (1 - oneMinusAlpha) * v[i]! + oneMinusAlpha * g * g;
      parameters[i]! -= (schedule[SCHEDULE.learningRate]! * g) / (Math.sqrt(v[i]!) + epsilon);
    }
  },
  cases: () =>
    optimizerCases(
      [
        { oneMinusAlpha: 1 - 0.99, epsilon: 1e-8, weightDecay: 0 },
        { oneMinusAlpha: 0.1, epsilon: 1e-3, weightDecay: 0.01 },
      ],
      ["v"],
    ),
});

export const rmsprop = defineKernel("rmsprop", source, { update });
