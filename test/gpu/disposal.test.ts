// What is left of a device, a plan or a tensor that was let go of: an answer, and no memory.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LanguageModel } from "../../src/models/language-model.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import type { Device, Plan } from "../../src/runtime/device.ts";
import { HostDevice } from "../../src/runtime/host-device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import type { Tensor } from "../../src/runtime/tensor.ts";
import { WebGpuDevice } from "../../src/runtime/webgpu-device.ts";
import { checkGradients } from "../../src/training/gradient-check.ts";
import { testAdapter } from "./device.ts";
import { wrap } from "./phases.ts";

let gpuDevice: GPUDevice;
beforeEach(async () => {
  gpuDevice = await (await testAdapter()).requestDevice();
});
afterEach(() => gpuDevice.destroy());

const kinds: readonly (readonly [string, () => Promise<Device>])[] = [
  ["webgpu", () => openDevice({ gpuDevice, tuning: "off" })],
  ["wasm", () => openDevice({ prefer: "wasm" })],
  ["cpu", () => openDevice({ prefer: "cpu" })],
];
const GONE = { name: "GatewiseError", code: "E_DISPOSED" };

const methodsOf = (object: object): string[] =>
  Object.entries(Object.getOwnPropertyDescriptors(object))
    .filter(([name, { value }]) => typeof value === "function" && name !== "constructor")
    .map(([name]) => name);
/** What devices of both kinds can do: what a device can do. */
const METHODS = methodsOf(HostDevice.prototype).filter((name) => methodsOf(WebGpuDevice.prototype).includes(name));
/** These answer as ever. */
const QUIET = ["dispose", "free", "memory"];

const copying = async (device: Device, x: Tensor): Promise<Plan> =>
  device.record("copy", (recorder) => recorder.copy(x, recorder.tensor({ name: "own", shape: x.shape })));

const callsOf = (plan: Plan, x: Tensor): Readonly<Record<string, () => unknown>> => ({
  run: () => plan.run(),
  "run with writes": () => plan.run([[x, new Float32Array(4)]]),
  runAndRead: () => plan.runAndRead(x),
  profile: () => plan.profile(),
});

/** Whether a call, synchronous or not, ends in E_DISPOSED. */
const isGone = (call: () => unknown, what: string): Promise<void> =>
  expect((async () => call())(), what).rejects.toMatchObject(GONE);

describe.each(kinds)("on %s,", (_, open) => {
  it("a disposed device answers E_DISPOSED to everything but a second dispose and what frees", async () => {
    const device = await open();
    const x = device.tensor({ name: "x", shape: [4] });
    const plan = await copying(device, x);
    device.dispose();
    const spec = { name: "y", shape: [4] };
    const arguments_: Readonly<Record<string, readonly unknown[]>> = {
      tensor: [spec],
      allocate: [[]],
      flatTensors: ["flat", [spec]],
      write: [x, new Float32Array(4)],
      read: [x],
      record: ["plan", () => {}],
    };
    expect(METHODS).toEqual(expect.arrayContaining([...Object.keys(arguments_), "finish", ...QUIET]));
    const methods = device as unknown as Record<string, (...args: readonly unknown[]) => unknown>;
    for (const name of METHODS)
      if (!QUIET.includes(name)) await isGone(() => methods[name]!(...(arguments_[name] ?? [])), `device.${name}`);
    for (const [name, call] of Object.entries(callsOf(plan, x))) await isGone(call, `plan.${name}`);
    plan.dispose();
    device.free(x);
    device.dispose();
    device[Symbol.dispose]();
    expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
  });

  it("so does what is made on it", async () => {
    const device = await open();
    device.dispose();
    await isGone(() => LanguageModel.create(device, { cell: "gru", vocabSize: 3 }), "LanguageModel.create");
    await isGone(() => Recurrent.create(device, { cell: "rnn", inputSize: 1, hiddenSize: 1 }), "Recurrent.create");
    await isGone(() => checkGradients(device, { quick: true, cells: ["rnn"] }), "checkGradients");
  });

  it("a disposed plan answers E_DISPOSED, and so does one whose tensors were freed", async () => {
    const device = await open();
    const x = device.tensor({ name: "x", shape: [4] });
    const [plan, orphan] = [await copying(device, x), await copying(device, x)];
    plan.dispose();
    device.free(x);
    const y = device.tensor({ name: "y", shape: [4] });
    for (const [name, call] of Object.entries(callsOf(plan, y))) await isGone(call, `plan.${name}`);
    for (const [name, call] of Object.entries(callsOf(orphan, y))) await isGone(call, `orphan.${name}`);
    await expect(orphan.run()).rejects.toThrow(/^x is not on this device/);
    orphan.dispose();
    device.dispose();
  });

  it("a tensor that was freed, or is another device's, is neither read nor written", async () => {
    const [device, other] = [await open(), await openDevice({ prefer: "cpu" })];
    const freed = device.tensor({ name: "x", shape: [4] });
    device.free(freed, freed);
    const foreign = other.tensor({ name: "x", shape: [4] });
    device.free(foreign);
    for (const tensor of [freed, foreign]) {
      await isGone(() => device.read(tensor), "read");
      await isGone(() => device.write(tensor, new Float32Array(4)), "write");
    }
    expect(Array.from(await other.read(foreign))).toEqual([0, 0, 0, 0]);
    device.dispose();
  });

  it("a dispose while reads and runs are under way ends them with E_DISPOSED", async () => {
    const device = await open();
    const x = device.tensor({ name: "x", shape: [1 << 19] });
    const plan = await copying(device, x);
    const waiting = [device.read(x), plan.runAndRead(x), device.read(x), device.finish()].map((each) =>
      each.then(
        () => "done",
        (error: unknown) => error,
      ),
    );
    device.dispose();
    expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
    for (const outcome of await Promise.all(waiting)) if (outcome !== "done") expect(outcome).toMatchObject(GONE);
    expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
  });
});

describe("memory() is what is held", () => {
  /** Buffers of the GPUDevice that are not destroyed. */
  let held: Set<GPUBuffer>;
  beforeEach(() => {
    held = new Set();
    const createBuffer = gpuDevice.createBuffer.bind(gpuDevice);
    const counted = (descriptor: GPUBufferDescriptor): GPUBuffer => {
      const buffer = createBuffer(descriptor);
      held.add(buffer);
      wrap(buffer, "destroy", (call) => (held.delete(buffer), call()));
      return buffer;
    };
    Object.defineProperty(gpuDevice, "createBuffer", { value: counted });
  });
  const inFact = (): { buffers: number; bytes: number } => ({
    buffers: held.size,
    bytes: [...held].reduce((sum, { size }) => sum + size, 0),
  });

  it("at every moment: tensors, plans, reads small and large under way and done, and after dispose", async () => {
    const device = await openDevice({ gpuDevice, tuning: "off" });
    const check = (): void => expect(device.memory()).toEqual(inFact());
    const tensors = [3, 64, 1000, 1 << 17, 1 << 19].map((n) => device.tensor({ name: `x${n}`, shape: [n] }));
    check();
    const plans = await Promise.all(tensors.map((x) => copying(device, x)));
    check();
    const reads = tensors.flatMap((x, i) => [device.read(x), plans[i]!.runAndRead(x)]);
    check();
    await Promise.all(reads);
    check();
    plans[0]!.dispose();
    device.free(tensors[0]!, tensors[4]!);
    check();
    const last = device.read(tensors[3]!);
    device.dispose();
    check();
    expect(held.size).toBe(0);
    await expect(last).rejects.toMatchObject(GONE);
    check();
    expect(held.size).toBe(0);
  });

  it("reads of many lengths leave a few buffers, not one each, and a large one leaves none", async () => {
    const device = await openDevice({ gpuDevice, tuning: "off" });
    const large = device.tensor({ name: "large", shape: [1 << 19] });
    for (let T = 1; T <= 240; T++) {
      const x = device.tensor({ name: "x", shape: [T, 32, 16] });
      await device.read(x);
      device.free(x);
    }
    await Promise.all(Array.from({ length: 40 }, () => device.read(large)));
    expect(device.memory()).toEqual(inFact());
    expect(held.size - 1).toBeLessThanOrEqual(16);
    expect(device.memory().bytes - 4 * large.length).toBeLessThan(4 << 20);
    device.dispose();
    expect(held.size).toBe(0);
  });
});
