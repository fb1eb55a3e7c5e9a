// The kernels of a training step at sizes that matter, each as a rate and as a share of the adapter's own limit.
import { adam } from "../kernels/adam.ts";
import { embedding } from "../kernels/embedding.ts";
import type { Tensors } from "../kernels/cell.ts";
import { recordMatmul, type Matrix } from "../kernels/matmul.ts";
import { reduce } from "../kernels/reduce.ts";
import { softmaxCrossEntropy } from "../kernels/softmax-cross-entropy.ts";
import { CELL_DEFAULTS, CELL_NAMES, CELLS, inBlock, type CellName } from "../models/cells.ts";
import type { Device, Plan } from "../runtime/device.ts";
import type { AdapterLimits } from "../runtime/probe.ts";
import { Recorder, type DispatchCommand } from "../runtime/recorder.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { timeInterleaved, type Timing } from "./measure.ts";

/** One kernel at one size. */
export interface KernelBenchmark {
  /** "lstm step", "matmul tn". */
  readonly kernel: string;
  readonly sizes: string;
  /** Floating-point operations, of kernels that compute; bytes read and written, of those that only move. */
  readonly operations?: number;
  readonly bytes?: number;
  /** For a product inside another kernel: the sizes M×N×K of the plain matmul that it is to be held against. */
  readonly product?: string;
  /** Records it once; a repeated recording must be allowed to run again. */
  readonly record: (recorder: Recorder) => void;
}

export interface KernelResult {
  readonly kernel: string;
  readonly sizes: string;
  readonly variant: string;
  readonly milliseconds: Timing;
  /** GFLOP/s, or GB/s. */
  readonly rate: number;
  readonly unit: "GFLOP/s" | "GB/s";
  /** Of the adapter's own limit, by its probe in the same run. */
  readonly share: number;
  /** Its rate over the plain matmul's with the same M, N and K. */
  readonly ofMatmul?: number;
}

const STEP_SIZES = [
  { B: 64, H: 128 },
  { B: 64, H: 512 },
  { B: 1, H: 512 },
] as const;
const SEQUENCE = { B: 64, H: 128, T: 50 } as const;

/** The standard list; work of more than `most` floating-point operations is left out, and what takes more than `hidden` units. */
export function kernelBenchmarks(most = 2e9, hidden = Infinity): readonly KernelBenchmark[] {
  const stepSizes = STEP_SIZES.filter(({ H }) => H <= hidden);
  const all: KernelBenchmark[] = [
    ...(hidden < 512 ? [] : (["nn", "nt", "tn"] as const).map((op) => product(op, 512, 512, 512))),
    product("nt", 3200, 73, 128),
    product("nn", 3200, 128, 73),
    product("tn", 512, 128, 3200),
    ...(hidden < 512 ? [] : [1, 8, 128].map((M) => product("nn", M, 2048, 512))),
  ];
  const plain = new Set<string>();
  for (const cell of CELL_NAMES) {
    for (const sizes of stepSizes)
      for (const direction of ["forward", "backward"] as const) plain.add(step(cell, direction, sizes).product ?? "");
  }
  plain.delete("");
  for (const sizes of plain) all.push(product("nn", ...(sizes.split("×").map(Number) as [number, number, number])));
  for (const cell of CELL_NAMES) {
    for (const sizes of stepSizes) all.push(step(cell, "forward", sizes), step(cell, "backward", sizes));
    if (SEQUENCE.H <= hidden) all.push(steps(cell, "forward"), steps(cell, "backward"));
  }
  all.push(
    {
      kernel: "softmax-cross-entropy backward",
      sizes: "N=3200 V=73",
      bytes: 2 * 4 * 3200 * 76,
      record: (r) =>
        r.dispatch(
          softmaxCrossEntropy.backward,
          {
            logits: r.tensor({ name: "logits", shape: [3200, 73] }),
            targets: r.tensor({ name: "targets", shape: [3200], dtype: "u32" }),
            rows: r.tensor({ name: "rows", shape: [3200, 2], stored: [3200, 2] }),
          },
          { N: 3200, V: 73, scale: 1 / 3200 },
        ),
    },
    {
      kernel: "embedding forward",
      sizes: "N=3200 W=512",
      bytes: 2 * 4 * 3200 * 512,
      record: (r) =>
        r.dispatch(
          embedding.forward,
          {
            tokens: r.tensor({ name: "tokens", shape: [3200], dtype: "u32" }),
            weight: r.tensor({ name: "weight", shape: [73, 512] }),
            y: r.tensor({ name: "y", shape: [3200, 512] }),
          },
          { N: 3200, V: 73, W: 512, first: 0 },
        ),
    },
    {
      kernel: "reduce columns",
      sizes: "N=3200 W=512",
      bytes: 4 * 3200 * 512,
      record: (r) =>
        r.dispatch(
          reduce.columns,
          { values: r.tensor({ name: "values", shape: [3200, 512] }), out: r.tensor({ name: "out", shape: [512] }) },
          { N: 3200, W: 512, accumulate: 0, inOffset: 0 },
        ),
    },
    {
      kernel: "adam",
      sizes: "1M parameters",
      bytes: 7 * 4 * 2 ** 20,
      record: (r) => {
        const [parameters, gradients, m, v] = ["p", "g", "m", "v"].map((name) => r.tensor({ name, shape: [2 ** 20] }));
        r.dispatch(
          adam.update,
          {
            parameters: parameters!,
            gradients: gradients!,
            m: m!,
            v: v!,
            schedule: r.tensor({ name: "schedule", shape: [4] }),
            metrics: r.tensor({ name: "metrics", shape: [8] }),
          },
          {
            count: 2 ** 18,
            decayed: 2 ** 18,
            decoupled: 0,
            oneMinusBeta1: 0.1,
            oneMinusBeta2: 0.001,
            epsilon: 1e-8,
            weightDecay: 0,
          },
        );
      },
    },
  );
  return all.filter(({ operations }) => (operations ?? 0) <= most);
}

/** C[M,N] with K products in each sum. */
function product(op: "nn" | "nt" | "tn", M: number, N: number, K: number): KernelBenchmark {
  return {
    kernel: `matmul ${op}`,
    sizes: `${M}×${N}×${K}`,
    operations: 2 * M * N * K,
    record: (r) => {
      const matrix = (name: string, rows: number, columns: number): Matrix => ({
        tensor: r.tensor({ name, shape: [rows, columns] }),
        rows,
        columns,
      });
      const a = op === "tn" ? matrix("a", K, M) : matrix("a", M, K);
      const b = op === "nt" ? matrix("b", N, K) : matrix("b", K, N);
      recordMatmul(r, op, a, b, matrix("c", M, N));
    },
  };
}

/** The sizes N×K of a cell's product with its state, where it has one. */
function recurrentProduct(cell: CellName, H: number): readonly [N: number, K: number] | undefined {
  if (inBlock({ cell })) return undefined;
  const { shape } = CELLS[cell].parameters(configOf(H), [1]).find((spec) => spec.shape[1] === H) ?? {};
  return shape as readonly [number, number] | undefined;
}

const configOf = (hiddenSize: number) => ({ ...CELL_DEFAULTS, hiddenSize, bias: false });

/** A layer on tokens, one-hot, or as a block has it on rows of its own width, with the gradients of its weights. */
function layerOf(r: Recorder, cell: CellName, T: number, B: number, H: number) {
  const V = 73;
  const config = configOf(H);
  const weights = (name: string): Tensors =>
    Object.fromEntries(
      CELLS[cell]
        .parameters(config, [inBlock({ cell }) ? H : V])
        .map(({ tensor }) => [tensor.name, r.tensor({ ...tensor, name: name + tensor.name })]),
    );
  const rows = (name: string): Matrix => ({ tensor: r.tensor({ name, shape: [T, B, H] }), rows: T * B, columns: H });
  const tokens = (): Tensor => r.tensor({ name: "tokens", shape: [T, B], dtype: "u32" });
  const input = inBlock({ cell }) ? { parts: [rows("x")] } : { parts: [], tokens: { tokens: tokens(), V } };
  const layer = CELLS[cell].record(r, { name: "bench", T, B, config, weights: weights(""), input });
  const dOutput = r.tensor({ name: "dOutput", shape: [T, B, H] });
  return {
    forward: layer.forward,
    backward: layer.backward(r, { dOutput, weights: weights("d"), inputs: input.parts.map(() => rows("dX")) }),
  };
}

/** One step; backward the last but one, which has gradients from the step after. */
function step(cell: CellName, direction: "forward" | "backward", { B, H }: { B: number; H: number }): KernelBenchmark {
  const [N, K] = recurrentProduct(cell, H) ?? [];
  return {
    kernel: `${cell} step ${direction}`,
    sizes: `B=${B} H=${H}`,
    operations: B * CELLS[cell].costs(configOf(H), H).stepWork,
    ...(N && { product: direction === "forward" ? `${B}×${N}×${K}` : `${B}×${K}×${N}` }),
    record: (r) => layerOf(r, cell, 2, B, H)[direction].steps(0, 1),
  };
}

/** All steps of a sequence, as training runs them. */
function steps(cell: CellName, direction: "forward" | "backward"): KernelBenchmark {
  const { B, H, T } = SEQUENCE;
  return {
    kernel: `${cell} all steps ${direction}`,
    sizes: `B=${B} H=${H} T=${T}`,
    operations: B * CELLS[cell].costs(configOf(H), H).stepWork * (direction === "forward" ? T : T - 1),
    record: (r) => layerOf(r, cell, T, B, H)[direction].steps(direction === "forward" ? 0 : T - 1, T),
  };
}

/** Milliseconds that a timed run should take, so that clocks and submits do not matter. */
const RUN = 20;

/** Times kernels in interleaved rounds. Shares are of `limits`, which must come from the same run. */
export async function benchmarkKernels(
  device: Device,
  benchmarks: readonly KernelBenchmark[],
  limits: AdapterLimits,
  options: { rounds?: number; signal?: AbortSignal | undefined; onProgress?: (done: number, of: number) => void } = {},
): Promise<readonly KernelResult[]> {
  const { rounds = 5, signal, onProgress } = options;
  const results: KernelResult[] = [];
  // A family at a time, so that not all tensors are there at once; a step stays beside its plain product.
  for (const group of families(benchmarks)) {
    onProgress?.(results.length, benchmarks.length);
    const plans: Plan[] = [];
    try {
      const subjects = [];
      for (const { record } of group) {
        signal?.throwIfAborted();
        const once = await device.record("bench", record);
        plans.push(once);
        await once.run();
        await device.finish();
        const begun = performance.now();
        await once.run();
        await device.finish();
        const times = Math.min(200, Math.max(1, Math.ceil(RUN / Math.max(performance.now() - begun, 0.05))));
        subjects.push({
          times,
          run: async () => {
            for (let i = 0; i < times; i++) await once.run();
            await device.finish();
          },
        });
      }
      const timings = await timeInterleaved(subjects, rounds, signal);
      const milliseconds = new Map(group.map(({ kernel, sizes }, i) => [`${kernel} ${sizes}`, timings[i]!.median]));
      for (const [i, benchmark] of group.entries()) {
        const plainTime = milliseconds.get(`matmul nn ${benchmark.product}`);
        results.push({
          ...rated(benchmark, timings[i]!, variantOf(device, benchmark), limits),
          ...(plainTime && { ofMatmul: plainTime / timings[i]!.median }),
        });
      }
    } finally {
      for (const plan of plans) plan.dispose();
    }
  }
  return results;
}

/** The steps with the products that they are held against; of all others those of the same kernel. */
function families(benchmarks: readonly KernelBenchmark[]): readonly (readonly KernelBenchmark[])[] {
  const held = new Set(benchmarks.flatMap(({ product }) => (product ? [`matmul nn ${product}`] : [])));
  const groups = new Map<string, KernelBenchmark[]>();
  for (const each of benchmarks) {
    const together = each.product !== undefined || held.has(`${each.kernel} ${each.sizes}`);
    const name = together ? "steps" : each.kernel.split(" ")[0]!;
    groups.set(name, [...(groups.get(name) ?? []), each]);
  }
  return [...groups.values()];
}

function rated(benchmark: KernelBenchmark, milliseconds: Timing, variant: string, limits: AdapterLimits): KernelResult {
  const { kernel, sizes, operations, bytes = 0 } = benchmark;
  const unit = operations === undefined ? "GB/s" : "GFLOP/s";
  const rate = (operations ?? bytes) / milliseconds.median / 1e6;
  const share = rate / (unit === "GB/s" ? limits.gigabytesPerSecond : limits.gigaflops);
  return { kernel, sizes, variant, milliseconds, rate, unit, share };
}

/** What a plan takes on this device: the variants of its dispatches, of which WebAssembly has none. */
function variantOf(device: Device, { record }: KernelBenchmark): string {
  if (device.kind === "wasm") return "";
  const chosen = new Map([...(device.tuner?.results ?? [])].map(([key, tuned]) => [key, tuned.chosen]));
  const recorder = new Recorder(device, chosen);
  record(recorder);
  const dispatches = recorder.commands.filter((c): c is DispatchCommand => c.kind === "dispatch");
  const names = new Set(dispatches.map(({ variant }) => variant.name));
  return `${[...names].join(", ")}${dispatches.length > 1 ? ` (${dispatches.length} dispatches)` : ""}`;
}
