// Every kernel case in every variant, and training, under another WebGPU implementation: wgpu and Naga, in Deno.
// scripts/second-compiler.mjs bundles this and runs it.
import { inBlock } from "../../src/models/cells.ts";
import { PRESET_NAMES, PRESETS, type PresetName } from "../../src/models/presets.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { randomWord } from "../../src/random.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { differences } from "../../src/runtime/verify.ts";
import { allEntries } from "../../src/training/kernel-list.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { GatewiseError } from "../../src/errors.ts";
import { atEveryCall } from "../gpu/phases.ts";

const device = await openDevice({ prefer: "webgpu" });
const cpu = await openDevice({ prefer: "cpu", precision: "float64" });
let checks = 0;
let failed = 0;

/** Runs one check and prints what it found; an error is a failure as a wrong number is. */
async function check(name: string, run: () => Promise<readonly string[]>): Promise<void> {
  checks++;
  const found = await run().catch((error: unknown) => [`${name}: ${String(error)}`]);
  if (found.length > 0) failed++;
  for (const line of found) console.log(line);
}

for (const [name, entry] of allEntries()) await check(name, () => differences(device, entry));

const tokens = Uint32Array.from({ length: 300 }, (_, i) => (i * i + (randomWord(1, 2, i, 3) % 3)) % 19);
async function losses(on: Device, preset: PresetName): Promise<number[]> {
  const sizes = { hiddenSize: 13, embeddingSize: inBlock(PRESETS[preset]) ? 13 : 6 };
  const model = LanguageModel.create(on, { ...PRESETS[preset], vocabSize: 19, ...sizes });
  const trainer = Trainer.create(model, tokens, { batchSize: 5, seqLen: 9, learningRate: 1e-2, logInterval: 1, valFraction: 0 });
  const out: number[] = [];
  for await (const event of trainer.run({ maxSteps: 8 })) if (event.event === "step") out.push(event.loss);
  trainer.dispose();
  model.dispose();
  return out;
}
for (const preset of PRESET_NAMES) {
  await check(preset, async () => {
    const expected = await losses(cpu, preset);
    return (await losses(device, preset)).flatMap((loss, i) =>
      Math.abs(loss / expected[i]! - 1) < 1e-4 ? [] : [`${preset}, step ${i + 1}: loss ${loss}, not ${expected[i]}`],
    );
  });
}

// What wgpu says of a lost device differs from call to call; Gatewise says one thing.
const { gpu } = navigator as Navigator & { gpu: GPU };
await atEveryCall(
  "on",
  async () => (await gpu.requestAdapter())!.requestDevice(),
  (lost) => lost.destroy(),
  (error, _, where) =>
    void check(`loss at ${where}`, async () =>
      error instanceof GatewiseError && error.code === "E_DEVICE_LOST" ? [] : [`loss at ${where}: ${String(error)}`],
    ),
);

console.log(JSON.stringify({ device: device.description, checks, failed }));
