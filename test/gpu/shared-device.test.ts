// One GPUDevice, several users: whoever makes a mistake gets the error, and nobody else.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LanguageModel } from "../../src/models/language-model.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice, type OpenDeviceOptions } from "../../src/runtime/open.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { testAdapter } from "./device.ts";
import { atEveryCall, callsOf, everything, EXPECTED, wrap, wrapWork } from "./phases.ts";

let gpuDevice: GPUDevice;
/** Errors that reached the caller's own handler. */
let seen: { message: string; prevented: boolean }[];
const onError = (event: GPUUncapturedErrorEvent): void => {
  seen.push({ message: event.error.message, prevented: event.defaultPrevented });
  // Nobody's log is to fill with what this test does on purpose.
  event.preventDefault();
};

async function newDevice(): Promise<GPUDevice> {
  const adapter = await testAdapter();
  const requiredFeatures = (["timestamp-query"] as const).filter((feature) => adapter.features.has(feature));
  gpuDevice = await adapter.requestDevice({ requiredFeatures });
  gpuDevice.addEventListener("uncapturederror", onError);
  return gpuDevice;
}

beforeEach(async () => {
  seen = [];
  await newDevice();
});
afterEach(() => gpuDevice.destroy());

/** A mistake of the caller's own. */
const mistake = (): void => void gpuDevice.createBuffer({ size: 16, usage: 0 });

/** Lets everything arrive that the GPU has to say. */
async function quiet(): Promise<void> {
  await gpuDevice.queue.onSubmittedWorkDone();
  await new Promise((resolve) => setTimeout(resolve, 50));
}

const open = (options: OpenDeviceOptions = {}): Promise<Device> => openDevice({ gpuDevice, tuning: "off", ...options });

/** Twenty steps on tokens 0 1 2 0 1 2 …; `atStep` is called after each. */
async function losses(device: Device, atStep: (step: number) => void = () => {}): Promise<number[]> {
  const tokens = Uint32Array.from({ length: 400 }, (_, i) => i % 3);
  const model = LanguageModel.create(device, { cell: "gru", vocabSize: 3, hiddenSize: 4, embeddingSize: 4, seed: 1 });
  const trainer = Trainer.create(model, tokens, { batchSize: 2, seqLen: 8, logInterval: 1 });
  const found: number[] = [];
  for await (const event of trainer.run({ maxSteps: 20 })) {
    if (event.event !== "step") continue;
    found.push(event.loss);
    atStep(event.step);
  }
  trainer.dispose();
  model.dispose();
  return found;
}

describe("a mistake of the caller's own", () => {
  it("changes no bit of a training on the same GPUDevice, and its event comes to the caller as it was", async () => {
    const device = await open();
    const undisturbed = await losses(device);
    expect(undisturbed).toHaveLength(20);
    expect(undisturbed[19]).toBeCloseTo(1.0474, 4);
    expect(await losses(device, (step) => step === 3 && mistake())).toEqual(undisturbed);
    await quiet();
    expect(seen).toEqual([{ message: expect.stringMatching(/usage/i), prevented: false }]);
    device.dispose();
  });

  it("while Gatewise's device is idle is none of its business, before and after its dispose", async () => {
    const device = await open();
    const x = device.tensor({ name: "x", shape: [4] });
    mistake();
    await quiet();
    expect(Array.from(await device.read(x))).toEqual([0, 0, 0, 0]);
    await device.finish();
    device.dispose();
    mistake();
    await quiet();
    expect(seen.map(({ prevented }) => prevented)).toEqual([false, false]);
  });
});

describe("in every phase, from opening to dispose,", () => {
  it("WebGPU is called as the tests below think", async () => {
    const counts = await callsOf(gpuDevice, "on");
    expect([...counts.keys()].sort()).toEqual(
      expect.arrayContaining(["createBindGroup", "createBuffer", "createComputePipelineAsync", "submit", "writeBuffer"]),
    );
  });

  it("mistakes that the caller makes between Gatewise's calls stay the caller's", async () => {
    let mistakes = 0;
    let own = false;
    wrapWork(gpuDevice, (_, call) => {
      // In the next microtask: no scope of Gatewise's may be open by then.
      if (!own)
        queueMicrotask(() => {
          own = true;
          mistakes++;
          mistake();
          own = false;
        });
      return call();
    });
    expect(await everything(gpuDevice)).toEqual(EXPECTED);
    await quiet();
    expect(mistakes).toBeGreaterThan(50);
    expect(seen).toHaveLength(mistakes);
    expect(seen.every(({ prevented }) => !prevented)).toBe(true);
  });

  it("errors of Gatewise's own calls are thrown from it", async () => {
    await atEveryCall("off", newDevice, mistake, (error, method, where) => {
      // Which can do nothing wrong, and has no scope.
      if (method === "onSubmittedWorkDone") return;
      expect(error, where).toMatchObject({ code: "E_SHADER", message: expect.stringMatching(/usage/i) as string });
    });
    await quiet();
    expect(seen.length, "for onSubmittedWorkDone").toBeLessThanOrEqual(3);
  });

  it("and while it tunes they may cost a variant, but nobody else hears of them", async () => {
    await atEveryCall("on", newDevice, mistake, (error, _, where) => {
      if (error !== undefined) expect(error, where).toMatchObject({ code: "E_SHADER" });
    });
    await quiet();
    expect(seen.length, "for onSubmittedWorkDone").toBeLessThanOrEqual(3);
  });

  it("the loss of the device is E_DEVICE_LOST", async () => {
    await atEveryCall(
      "on",
      newDevice,
      (lost) => lost.destroy(),
      (error, _, where) => expect(error, where).toMatchObject({ code: "E_DEVICE_LOST" }),
    );
    expect(seen).toEqual([]);
  });

  it("so it is where the implementation speaks of it late and in other words, as wgpu does", async () => {
    await atEveryCall("on", wgpuDevice, loseAsWgpu, (error, _, where) =>
      expect(error, where).toMatchObject({ code: "E_DEVICE_LOST" }),
    );
    expect(seen).toEqual([]);
  });
});

/** How to lose a device of `wgpuDevice`. */
const losings = new WeakMap<GPUDevice, () => void>();
const loseAsWgpu = (lost: GPUDevice): void => losings.get(lost)!();

/** A device whose loss shows as wgpu shows it: every call fails by an error of its own, and `lost` settles later. */
async function wgpuDevice(): Promise<GPUDevice> {
  const device = await newDevice();
  let isLost = false;
  let settle!: (info: GPUDeviceLostInfo) => void;
  const lost = new Promise<GPUDeviceLostInfo>((resolve) => (settle = resolve));
  Object.defineProperty(device, "lost", { value: lost });
  losings.set(device, () => {
    isLost = true;
    setTimeout(() => settle({ reason: "unknown", message: "device was lost" } as GPUDeviceLostInfo), 20);
  });
  const gone = new DOMException("the read-back buffer could not be mapped", "OperationError");
  // The scopes pop from the innermost one outwards: the second is that of validation.
  let pops = 0;
  wrap(device, "popErrorScope", (call) => {
    const error = call() as Promise<GPUError | null>;
    return isLost && pops++ % 2 === 1 ? Promise.resolve({ message: "Parent device is lost" }) : error;
  });
  wrap(device, "createBuffer", (call) => {
    const buffer = call() as GPUBuffer;
    wrap(buffer, "mapAsync", (map) => (isLost ? Promise.reject(gone) : map()));
    return buffer;
  });
  wrap(device, "createComputePipelineAsync", (call) =>
    isLost ? Promise.reject(new DOMException("Parent device is lost", "OperationError")) : call(),
  );
  wrap(device.queue, "onSubmittedWorkDone", (call) => (isLost ? Promise.reject(gone) : call()));
  return device;
}

it("two Gatewise devices on one GPUDevice do not throw each other's errors", async () => {
  const [one, other] = [await open(), await open()];
  const x = other.tensor({ name: "x", shape: [4] });
  let armed = true;
  wrapWork(gpuDevice, (name, call) => {
    if (name === "writeBuffer" && armed) {
      armed = false;
      mistake();
    }
    return call();
  });
  one.write(one.tensor({ name: "y", shape: [4] }), new Float32Array(4));
  expect(Array.from(await other.read(x))).toEqual([0, 0, 0, 0]);
  await other.finish();
  await expect(one.finish()).rejects.toMatchObject({ code: "E_SHADER" });
  await one.finish();
  one.dispose();
  expect(Array.from(await other.read(x))).toEqual([0, 0, 0, 0]);
  other.dispose();
  expect(seen).toEqual([]);
});

it.each([
  ["rejects", () => Promise.reject(new Error("no scopes"))],
  [
    "throws",
    () => {
      throw new Error("no scopes");
    },
  ],
] as const)("a device whose popErrorScope %s computes all the same", async (_, fail) => {
  const device = await open();
  wrap(gpuDevice, "popErrorScope", (call) => {
    void call();
    return fail();
  });
  const x = device.tensor({ name: "x", shape: [4] });
  device.write(x, Float32Array.of(1, 2, 3, 4));
  expect(Array.from(await device.read(x))).toEqual([1, 2, 3, 4]);
  device.dispose();
});

it("memory that ran out is E_LIMIT and leaves nothing behind", async () => {
  const device = await open();
  let full = false;
  // The innermost scope, which is popped first, is that of memory.
  wrap(gpuDevice, "popErrorScope", (call) => {
    const error = call();
    const answer = full ? Promise.resolve({ message: "no memory" }) : error;
    full = false;
    return answer;
  });
  full = true;
  const recorded = device.record("large", (recorder) => recorder.clear(recorder.tensor({ name: "x", shape: [4] })));
  await expect(recorded).rejects.toMatchObject({ code: "E_LIMIT" });
  await expect(recorded).rejects.toThrow(/^large: out of GPU memory; .*\(no memory\)$/);
  expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
  full = true;
  device.tensor({ name: "x", shape: [4] });
  await expect(device.finish()).rejects.toMatchObject({ code: "E_LIMIT" });
  await device.finish();
  device.dispose();
});
