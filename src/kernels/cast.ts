// cast: y = x in the number format of y, `count` vec4s.
import source from "../../shaders/cast.wgsl?raw";
import { defineKernel, entry, linearWorkgroups } from "../runtime/kernel.ts";

const forward = entry({
  params: { count: "u32" },
  bindings: { x: "read", y: "read_write" },
  halves: { y: "Cast4" },
  workgroups: ({ count }) => linearWorkgroups(count, 64),
  work: ({ count }) => 6 * count,
  reference({ x, y }, { count }) {
    for (let i = 0; i < 4 * count; i++) y[i] = x[i]!;
  },
  cases: () =>
    [1, 3, 65].map((count) => ({
      name: `${count} vec4`,
      params: { count },
      tensors: { x: { shape: [4 * count] }, y: { shape: [4 * count] } },
    })),
});

export const cast = defineKernel("cast", source, { forward });
