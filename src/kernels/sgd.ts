// sgd: m = μ·m + g, p −= lr·m, with g + weightDecay·p for g: torch.optim.SGD, dampening 0, no Nesterov.
// All tensors are flat, `count` vec4s. Gradients are scaled by metrics[METRIC.factor]; see reduce.
import source from "../../shaders/sgd.wgsl?raw";
import { defineKernel, entry, linearWorkgroups } from "../runtime/kernel.ts";
import { optimizerCases, OPTIMIZER_ITEMS, SCHEDULE } from "./optimizers.ts";
import { METRIC } from "./reduce.ts";

const update = entry({
  params: { count: "u32", decayed: "u32", momentum: "f32", weightDecay: "f32" },
  bindings: { parameters: "read_write", gradients: "read", m: "read_write", schedule: "read", metrics: "read" },
  workgroups: ({ count }) => linearWorkgroups(count, OPTIMIZER_ITEMS),
  work: ({ count }) => 20 * count,
  reference({ parameters, gradients, m, schedule, metrics }, { count, decayed, momentum, weightDecay }) {
    if (metrics[METRIC.skipped]! > 0) return;
    for (let i = 0; i < 4 * count; i++) {
      const decay = i < 4 * decayed ? weightDecay : 0;
      const g = gradients[i]! * metrics[METRIC.factor]! + decay * parameters[i]!;
      m[i] = momentum * m[i]! + g;
      parameters[i]! -= schedule[SCHEDULE.learningRate]! * m[i]!;
    }
  },
  cases: () =>
    optimizerCases(
      [
        { momentum: 0, weightDecay: 0 },
        { momentum: 0.9, weightDecay: 0.01 },
      ],
      ["m"],
    ),
});

export const sgd = defineKernel("sgd", source, { update });
