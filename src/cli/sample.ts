import { sampleText } from "../models/language-model.ts";
import type { SampleOptions } from "../models/sample.ts";
import { modelFromCheckpoint } from "../training/checkpoint.ts";
import { withDevice, type DeviceFlags } from "./device.ts";
import { readPrompt } from "./data.ts";
import { findCheckpoint, whichCheckpoint } from "./files.ts";
import { print, printJson, say, warn } from "./progress.ts";
import { listenForStop } from "./stop.ts";

export interface SampleFlags extends DeviceFlags {
  readonly prompt: string;
  readonly length: number;
  readonly temperature: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed?: number;
  readonly count: number;
  readonly best?: boolean;
  readonly json?: boolean;
}

/** `gatewise sample`. Returns the exit code. */
export async function sample(path: string, flags: SampleFlags): Promise<number> {
  const found = await findCheckpoint(path, warn, flags);
  const { checkpoint } = found;
  const { tokenizer } = checkpoint;
  const prompt = readPrompt(flags.prompt, tokenizer);
  // Refused before a device is opened.
  tokenizer.encode(prompt);
  const seed = flags.seed ?? Math.floor(Math.random() * 2 ** 31);
  return withDevice(flags, async (device) => {
    const model = modelFromCheckpoint(device, checkpoint);
    const stop = listenForStop(() => {});
    const streams = flags.count === 1 && !flags.json;
    const options: SampleOptions = {
      prompt,
      length: flags.length,
      temperature: flags.temperature,
      seed,
      count: flags.count,
      signal: stop.signal,
      ...(flags.topK !== undefined && { topK: flags.topK }),
      ...(flags.topP !== undefined && { topP: flags.topP }),
      ...(streams && { onText: print }),
    };
    try {
      if (!flags.json) {
        say(`model:  ${whichCheckpoint(found)}`);
        say(`device: ${device.description} · seed ${seed}`);
      }
      if (streams) print(prompt);
      const texts = await sampleText(model, tokenizer, options);
      texts.forEach((text, index) => {
        if (flags.json)
          printJson({ v: 1, event: "sample", path: found.path, step: checkpoint.training?.step, index, seed, prompt, text });
        else if (!streams) print(`${index > 0 ? "\n" : ""}--- ${index + 1}\n${text}\n`);
      });
      if (streams) print("\n");
    } catch (error) {
      if (stop.exitCode === undefined) throw error;
      if (streams) print("\n");
    } finally {
      model.dispose();
    }
    return stop.exitCode ?? 0;
  });
}
