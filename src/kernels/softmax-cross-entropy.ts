// softmax-cross-entropy: for each row of logits[N,V], −log softmax(logits)[target] in nats and whether the largest
// logit is the target's, into rows[N,2]. `backward` also puts the gradient (softmax − onehot) · scale in the place of
// the logits. Rows whose target is IGNORED count for nothing.
import source from "../../shaders/softmax-cross-entropy.wgsl?raw";
import { defineKernel, divideUp, entry, type Variant, linearWorkgroups } from "../runtime/kernel.ts";
import { pad4, type NumberArray } from "../runtime/tensor.ts";

/** Target of a row without one. */
export const IGNORED = 0xffffffff;

const params = { N: "u32", V: "u32", scale: "f32" } as const;
const bindings = { logits: "read_write", targets: "read", rows: "read_write" } as const;
type Arrays = { readonly [K in keyof typeof bindings]: NumberArray };
type RowParams = { readonly [K in keyof typeof params]: number };

/** Rows that a workgroup of the first variant covers. */
const ROWS = 16;

function form(gradient: boolean) {
  const variants: Variant[] = [
    { name: "row an invocation", entryPoint: "rowEach", constants: { GRADIENT: Number(gradient), ROWS } },
    {
      name: "row a workgroup",
      entryPoint: "rowShared",
      constants: { GRADIENT: Number(gradient), ROWS: 1 },
      preferred: (_, family) => family === "gpu",
    },
  ];
  return entry({
    params,
    bindings,
    variants,
    workgroups: ({ N }, constants) => linearWorkgroups(divideUp(N, constants.ROWS!), 1),
    work: ({ N, V }) => 20 * N * V,
    reference: (arrays, p) => reference(arrays, p, gradient),
    cases: () => SIZES.map(([N, V, spread]) => rowsCase(N, V, spread)),
  });
}

function reference({ logits, targets, rows }: Arrays, { N, V, scale }: RowParams, gradient: boolean): void {
  for (let n = 0; n < N; n++) {
    const at = n * pad4(V);
    const target = targets[n]!;
    rows[2 * n] = 0;
    rows[2 * n + 1] = 0;
    if (target === IGNORED) {
      if (gradient) logits.fill(0, at, at + V);
      continue;
    }
    let best = 0;
    for (let v = 1; v < V; v++) if (logits[at + v]! > logits[at + best]!) best = v;
    const max = logits[at + best]!;
    let sum = 0;
    for (let v = 0; v < V; v++) sum += Math.exp(logits[at + v]! - max);
    const loss = Math.log(sum) + max - logits[at + target]!;
    rows[2 * n] = loss;
    rows[2 * n + 1] = Number(best === target && Number.isFinite(loss));
    if (!gradient) continue;
    for (let v = 0; v < V; v++) {
      logits[at + v] = (Math.exp(logits[at + v]! - max) / sum - Number(v === target)) * scale;
    }
  }
}

/** N, V and how far the logits lie apart; at 0 they are ties. */
const SIZES = [
  [1, 1, 1],
  [3, 65, 1],
  [65, 3, 30],
  [9, 73, 0],
  [70, 74, 8],
  [5, 601, 1000],
  [2, 6, NaN],
] as const;

function rowsCase(N: number, V: number, spread: number) {
  const fill = Number.isNaN(spread)
    ? (i: number) => (i === 2 ? NaN : i === V + 1 ? Infinity : i / 9)
    : (i: number) => spread * Math.sin(i * i + 0.1);
  return {
    name: `N=${N} V=${V} spread ${spread}`,
    params: { N, V, scale: 1 / N },
    tensors: {
      logits: { shape: [N, V], fill },
      targets: { shape: [N], dtype: "u32", fill: (i: number) => (i % 5 === 4 ? IGNORED : (i * 7) % V) },
      rows: { shape: [N, 2], stored: [N, 2] },
    },
  } as const;
}

export const softmaxCrossEntropy = defineKernel("softmax-cross-entropy", source, { forward: form(false), backward: form(true) });
