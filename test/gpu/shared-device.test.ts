// One GPUDevice, several users: whoever makes a mistake gets the error, and nobody else.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LanguageModel } from "../../src/models/language-model.ts";
import { openDevice, type Device, type OpenDeviceOptions } from "../../src/runtime/device.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { testAdapter } from "./device.ts";

let gpuDevice: GPUDevice;
/** Errors that reached the caller's own handler. */
let seen: { message: string; prevented: boolean }[];
const onError = (event: GPUUncapturedErrorEvent): void => {
  seen.push({ message: event.error.message, prevented: event.defaultPrevented });
  // Nobody's log is to fill with what this test does on purpose.
  event.preventDefault();
};

beforeEach(async () => {
  gpuDevice = await (await testAdapter()).requestDevice({ requiredFeatures: [] });
  seen = [];
  gpuDevice.addEventListener("uncapturederror", onError);
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
