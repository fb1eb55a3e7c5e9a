// What plans ask of kernels, looked at command by command for both families of adapters: accesses within tensors, no
// writes where a binding is read, WebGPU's rules of alignment and aliasing, every step and every row exactly once.
import { describe, expect, it, vi } from "vitest";
import { recordMatmul, type Matrix } from "../../src/kernels/matmul.ts";
import { LanguageModel, type LanguageModelOptions } from "../../src/models/language-model.ts";
import type { Tensors } from "../../src/kernels/cell.ts";
import { CELL_DEFAULTS, cellForms, CELLS, inBlock } from "../../src/models/cells.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import { CpuDevice } from "../../src/runtime/cpu-device.ts";
import type { Plan } from "../../src/runtime/device.ts";
import { linearWorkgroups, type Entry, type Family } from "../../src/runtime/kernel.ts";
import { makeFlatTensors, makeTensor, Recorder, type DispatchCommand } from "../../src/runtime/recorder.ts";
import type { NumberArray } from "../../src/runtime/tensor.ts";
import { Trainer, type TrainerOptions } from "../../src/training/trainer.ts";
import { sizesFor } from "../cells/sizes.ts";

const dispatchesOf = (recorder: Recorder): DispatchCommand[] => recorder.commands.filter((c) => c.kind === "dispatch");
const nameOf = ({ entry }: DispatchCommand): string => `${entry.kernel}.${entry.name}`;

/** An array that throws where it is read or written outside, or written at all where it is only to be read. */
function guarded(array: NumberArray, what: string, writable: boolean): NumberArray {
  // Of a typed array, only indices within are properties.
  const check = (key: string | symbol, action: string): void => {
    if (!(key in array)) throw new Error(`${what}: ${action} at ${String(key)}, of ${array.length}`);
  };
  return new Proxy(array, {
    get(target, key) {
      check(key, "read");
      const value = Reflect.get(target, key, target) as unknown;
      if (key === "subarray")
        return (from: number, to: number) => {
          if (from < 0 || (to ?? 0) > array.length) throw new Error(`${what}: ${from} to ${to}, of ${array.length}`);
          return guarded(target.subarray(from, to), what, writable);
        };
      if (typeof value !== "function") return value;
      if (!writable && ["fill", "set", "copyWithin", "sort", "reverse"].includes(String(key)))
        throw new Error(`${what}: ${String(key)} on what is only read`);
      return value.bind(target);
    },
    set(target, key, value) {
      check(key, "write");
      if (!writable) throw new Error(`${what}: write at ${String(key)} of what is only read`);
      return Reflect.set(target, key, value, target);
    },
  });
}

function demand(ok: boolean, ...message: unknown[]): void {
  if (!ok) throw new Error(message.join(" "));
}

const VECTORS = new Set(["lda", "ldb", "ldc", "aOffset", "bOffset", "cOffset", "inOffset", "offset", "W"]);

/** What WebGPU asks of the tensors of a dispatch, and vec4f kernels of their offsets. */
function checkBindings(command: DispatchCommand): void {
  const { entry, tensors, params, workgroups } = command;
  const bindings = Object.entries(entry.bindings);
  tensors.forEach((tensor, i) => {
    const [binding, access] = bindings[i]!;
    const what = `${nameOf(command)} ${binding} (${tensor.name})`;
    demand((tensor.offset * 4) % 256 === 0, what, "begins at byte", tensor.offset * 4);
    demand((tensor.offset + tensor.length) * 4 <= tensor.storage.bytes, what, "ends past its buffer");
    for (let j = i + 1; j < tensors.length; j++) {
      const other = tensors[j]!;
      if (other.storage !== tensor.storage) continue;
      // A buffer may be bound twice in one dispatch only if both only read, or both write and do not overlap.
      demand(access === bindings[j]![1], what, "is read and written, by", bindings[j]![0]);
      const apart = tensor.offset + tensor.length <= other.offset || other.offset + other.length <= tensor.offset;
      demand(access === "read" || apart, what, "overlaps", bindings[j]![0]);
    }
  });
  for (const count of workgroups) demand(Number.isInteger(count) && count >= 1 && count <= 65535, nameOf(command), workgroups);
  for (const [name, value] of Object.entries(params)) {
    const what = `${nameOf(command)} ${name} = ${value}`;
    demand(!VECTORS.has(name) || value % 4 === 0, what, "cuts a vec4f");
    demand(name !== "kSlice" || value === params.K || value % 4 === 0, what, "cuts a vec4f");
    demand(entry.params[name] === "f32" || (Number.isInteger(value) && value >= 0), what, "is no u32");
  }
}

/** Runs plans through the references, as recorded for a family of adapters, with every access checked. */
class CheckingDevice extends CpuDevice {
  override readonly family: never;
  readonly seen: DispatchCommand[] = [];

  constructor(family: Family) {
    super("float64");
    this.family = family as never;
  }

  override async record<Made>(name: string, build: (recorder: Recorder) => Made): Promise<Plan<Made>> {
    return super.record(name, (recorder) => {
      const made = build(recorder);
      recorder.commands.forEach((command, i) => {
        if (command.kind !== "dispatch") return;
        checkBindings(command);
        this.seen.push(command);
        const { entry } = command;
        const reference: Entry["reference"] = (arrays, params) =>
          entry.reference(
            Object.fromEntries(
              Object.entries(entry.bindings).map(([binding, access]) => [
                binding,
                guarded(arrays[binding]!, `${nameOf(command)} ${binding}`, access === "read_write"),
              ]),
            ),
            params,
          );
        recorder.commands[i] = { ...command, entry: { ...entry, reference } };
      });
      return made;
    });
  }
}

const FAMILIES = ["software", "gpu"] as const;
describe.each(FAMILIES)("on a %s adapter every access is within its tensor, and every binding allowed:", (family) => {
  async function step(options: Partial<LanguageModelOptions>, settings: TrainerOptions): Promise<CheckingDevice> {
    const device = new CheckingDevice(family);
    const vocabSize = 6;
    const width = inBlock({ cell: "lstm", ...options }) ? 5 : 3;
    const model = LanguageModel.create(device, { embeddingSize: width, hiddenSize: 5, vocabSize, ...options });
    const tokens = Uint32Array.from({ length: 1500 }, (_, i) => (i * i) % vocabSize);
    const trainer = Trainer.create(model, tokens, { batchSize: 3, seqLen: 4, sampleInterval: 0, ...settings });
    for await (const _ of trainer.run({ maxSteps: 1 }));
    return device;
  }

  for (const [name, cell] of Object.entries(cellForms())) {
    for (const [input, loss] of [
      ["embedding", "all"],
      [inBlock(cell) ? "embedding" : "one-hot", "last"],
    ] as const)
      it(`a step of a ${name} of two layers with dropout, ${input}, loss on ${loss} steps, and its evaluation`, async () => {
        await step({ ...cell, input, numLayers: 2, dropout: 0.2 }, { loss });
      });
    it(`a step of a ${name} with a vocabulary larger than the batch`, async () => {
      await step({ ...cell, vocabSize: 13 }, {});
    });
    it(`a ${name} in two directions with rows of unequal length`, async () => {
      const device = new CheckingDevice(family);
      const [T, B] = [4, 3];
      const sizes = sizesFor(cell, { inputSize: 2, hiddenSize: 5, numLayers: 2, bidirectional: true });
      const { inputSize, hiddenSize } = sizes;
      const layer = Recurrent.create(device, { ...cell, ...sizes, dropout: 0.3 });
      await layer.forward(new Float64Array(T * B * inputSize).fill(0.5), { T, B, lengths: [4, 0, 2], training: true });
      const { dx } = await layer.backward(new Float64Array(T * B * 2 * hiddenSize).fill(1));
      expect(dx.every(Number.isFinite)).toBe(true);
    });
  }

  it("the tensors of a step have names, and integers are integers", async () => {
    const tensor = vi.spyOn(Recorder.prototype, "tensor");
    await step({ cell: "lstm", vocabSize: 13, numLayers: 2, dropout: 0.2 }, { valFraction: 0 });
    const specs = tensor.mock.calls.map(([spec]) => spec);
    const names = specs.map(({ name }) => name);
    tensor.mockRestore();
    const integers = specs.flatMap(({ name, dtype }) => (dtype === "u32" ? [name] : []));
    expect(integers).toEqual(expect.arrayContaining(["inputs", "targets", "order", "starts"]));
    expect(names).toEqual(
      expect.arrayContaining([
        "inputs",
        "targets",
        "order",
        "starts",
        "logits",
        "rows",
        "input.x",
        "input.dX",
        "l0.dropped",
        "dOutput",
        "dOutput l0",
      ]),
    );
    expect(names).not.toContain("");
  });

  it("a step whose gradients are sums of more than a thousand rows", async () => {
    const { seen } = await step({ cell: "rnn" }, { batchSize: 7, seqLen: 158, loss: "last", valFraction: 0 });
    const sliced = seen.filter((command) => command.params.kSlice! < command.params.K!);
    expect(sliced.length > 0).toBe(family === "gpu");
  });
});

describe.each(FAMILIES)("on a %s adapter the steps of a sequence are each done once, in order:", (family) => {
  const SHAPES = [
    { T: 400, B: 20, H: 80 },
    { T: 7, B: 3, H: 5 },
    { T: 70, B: 128, H: 512 },
  ];
  for (const [name, { cell, ...options }] of Object.entries(cellForms())) {
    const config = { ...CELL_DEFAULTS, ...options, bias: false };
    it.each(SHAPES)(`${name}, T=$T, B=$B, H=$H`, ({ T, B, H }) => {
      const recorder = new Recorder({ family, subgroupSize: 0 });
      const tensorsOf = (): Tensors =>
        Object.fromEntries(
          CELLS[cell].parameters({ ...config, hiddenSize: H }, [H]).map((spec) => [spec.name, recorder.tensor(spec.tensor)]),
        );
      const rowsOf = (name: string): Matrix => ({
        tensor: recorder.tensor({ name, shape: [T, B, H] }),
        rows: T * B,
        columns: H,
      });
      const x = rowsOf("x");
      const dOutput = recorder.tensor({ name: "dOutput", shape: [T, B, H] });
      const weights = tensorsOf();
      const site = { name: "l0", T, B, config: { ...config, hiddenSize: H }, weights, input: { parts: [x] } };
      const layer = CELLS[cell].record(recorder, site);
      const backward = layer.backward(recorder, { dOutput, weights: tensorsOf(), inputs: [rowsOf("dX")] });
      for (const direction of ["forward", "backward"] as const) {
        recorder.commands.length = 0;
        if (direction === "forward") layer.forward.steps(0, T);
        else backward.steps(T - 1, T);
        const commands = dispatchesOf(recorder).filter(({ entry }) => "t" in entry.params);
        commands.forEach(checkBindings);
        const entries = new Set(commands.map(({ entry }) => entry));
        // One entry, the two of a cell whose candidate multiplies a gated h, or those of steps that depend on the input.
        const before = { forward: ["forwardGates", "forwardCandidate"], backward: ["backwardCandidate", "backwardReset"] };
        const selective = { forward: ["softplus", "forward"], backward: ["backward"] };
        expect([[direction], before[direction], selective[direction]]).toContainEqual(
          [...entries].map(({ name: entry }) => entry),
        );
        for (const entry of entries) {
          const own = commands.filter((command) => command.entry === entry);
          const done = own.flatMap(({ params: { t, count } }) =>
            Array.from({ length: count! }, (_, i) => (direction === "forward" ? t! + i : t! - i)),
          );
          expect(done).toEqual(Array.from({ length: T }, (_, t) => (direction === "forward" ? t : T - 1 - t)));
          // Scans are not told which of their parts comes first.
          if (direction === "backward" && !CELLS[cell].block)
            for (const { params } of own) expect(params.last).toBe(Number(params.t === T - 1));
        }
      }
    });
  }
});

describe.each(FAMILIES)("on a %s adapter a long sum of products", (family) => {
  const [M, N, K] = [2, 3, 1109];
  for (const op of ["nn", "nt", "tn", "tt"] as const) {
    for (const accumulate of [false, true]) {
      it(`${op} is right${accumulate ? ", added to what is there" : ""}, ${op[0] === "t" ? "with its row sums" : "with its bias"}`, async () => {
        const device = new CheckingDevice(family);
        const aAt = (m: number, k: number): number => Math.sin(m + 3 * k);
        const bAt = (k: number, n: number): number => Math.cos(2 * k - n);
        const make = (name: string, rows: number, columns: number, at: (r: number, c: number) => number): Matrix => {
          const tensor = device.tensor({ name, shape: [rows, columns] });
          device.write(
            tensor,
            Float64Array.from({ length: rows * columns }, (_, i) => at(Math.floor(i / columns), i % columns)),
          );
          return { tensor, rows, columns };
        };
        const a = op[0] === "n" ? make("a", M, K, aAt) : make("a", K, M, (k, m) => aAt(m, k));
        const b = op[1] === "n" ? make("b", K, N, bAt) : make("b", N, K, (n, k) => bAt(k, n));
        const c = make("c", M, N, (m, n) => 10 * m + n);
        const vector = make("vector", 1, op[0] === "t" ? M : N, (_, i) => 100 + i).tensor;
        const extra = op[0] === "t" ? { rowSums: vector } : { bias: vector };
        const plan = await device.record("product", (recorder) => recordMatmul(recorder, op, a, b, c, { ...extra, accumulate }));
        await plan.run();
        const [product, sums] = [await device.read(c.tensor), await device.read(vector)];
        const total = (f: (k: number) => number): number => Array.from({ length: K }, (_, k) => f(k)).reduce((x, y) => x + y, 0);
        for (let m = 0; m < M; m++) {
          if (op[0] === "t")
            expect(sums[m]).toBeCloseTo(
              total((k) => aAt(m, k)),
              9,
            );
          for (let n = 0; n < N; n++) {
            const before = (accumulate ? 10 * m + n : 0) + (op[0] === "t" ? 0 : 100 + n);
            expect(product[m * N + n]).toBeCloseTo(before + total((k) => aAt(m, k) * bAt(k, n)), 9);
          }
        }
        device.dispose();
      });
    }
  }
});

describe("a product too large for one dispatch is cut into row blocks that", () => {
  const [rows, columns, K] = [1000, 4096, 4096];
  const parameters = makeFlatTensors("parameters", [
    { name: "other", shape: [100] },
    { name: "sums", shape: [rows] },
  ]);
  const sums = parameters.parts[1]!;
  const matrix = (name: string, r: number, c: number, more: Partial<Matrix> = {}): Matrix => ({
    tensor: makeTensor({ name, shape: [(more.firstRow ?? 0) + r, more.stride ?? c] }),
    rows: r,
    columns: c,
    ...more,
  });

  it.each(["nn", "nt", "tn", "tt"] as const)("%s: begin where the last ended, in A, C and the row sums", (op) => {
    const recorder = new Recorder({ family: "software", subgroupSize: 0 });
    const part = { firstRow: 3, firstColumn: 8 };
    const a =
      op[0] === "n" ? matrix("a", rows, K, { ...part, stride: K + 16 }) : matrix("a", K, rows, { ...part, stride: rows + 20 });
    const b = op[1] === "n" ? matrix("b", K, columns) : matrix("b", columns, K);
    const c = matrix("c", rows, columns, { firstRow: 5 });
    recordMatmul(recorder, op, a, b, c, op[0] === "t" ? { rowSums: sums } : {});
    const pieces = dispatchesOf(recorder);
    expect(pieces.length).toBeGreaterThan(2);
    let row = 0;
    for (const piece of pieces) {
      checkBindings(piece);
      const { params, tensors, work } = piece;
      expect(params).toMatchObject({ N: columns, K, kSlice: K, useBias: Number(op[0] === "t") });
      expect(params.aOffset).toBe(op[0] === "n" ? (3 + row) * (K + 16) + 8 : 3 * (rows + 20) + 8 + row);
      expect(params.cOffset).toBe((5 + row) * columns);
      expect(work).toBeLessThanOrEqual(4e9);
      if (op[0] === "t") {
        expect(tensors[2]!.storage).toBe(sums.storage);
        expect(tensors[2]!.offset).toBe(sums.offset + row);
        expect(tensors[2]!.length).toBe(sums.length - row);
      }
      row += params.M!;
    }
    expect(row).toBe(rows);
  });
});

describe("workgroups", () => {
  it("cover all items, a line at a time, and no line is longer than WebGPU allows", () => {
    for (const size of [1, 16, 64]) {
      for (const items of [1, 63, 64, 65, 65535, 65536, 65535 * 64, 65535 * 64 + 1, 9_000_001, 131_070, 131_071]) {
        const [x, y] = linearWorkgroups(items, size);
        expect(x * y * size).toBeGreaterThanOrEqual(items);
        expect(x).toBeLessThanOrEqual(65535);
        // Not a line more than are needed, nor a workgroup more in each.
        expect((x - 1) * y * size).toBeLessThan(items);
        expect(y).toBe(Math.ceil(Math.ceil(items / size) / 65535));
      }
    }
  });
});

it("many short plans, one after another, let timers in on the CPU device", async () => {
  const device = new CpuDevice("float32");
  const plan = await device.record("short", (r) => r.clear(r.tensor({ name: "x", shape: [4] })));
  const heard = vi.fn();
  setTimeout(heard);
  const begin = performance.now();
  while (heard.mock.calls.length === 0 && performance.now() - begin < 2000) await plan.run();
  expect(heard).toHaveBeenCalledOnce();
  device.dispose();
});
