import { readFileSync } from "node:fs";
import { GatewiseError } from "../errors.ts";
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
  readonly prompts?: string;
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
  const prompts = readPrompts(flags).map((prompt) => readPrompt(prompt, tokenizer));
  // Refused before a device is opened.
  for (const prompt of prompts) tokenizer.encode(prompt);
  const seed = flags.seed ?? Math.floor(Math.random() * 2 ** 31);
  return withDevice(flags, async (device) => {
    const model = modelFromCheckpoint(device, checkpoint);
    const stop = listenForStop(() => {});
    const streams = flags.count === 1 && !flags.json;
    const options: SampleOptions = {
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
      for (const [number, prompt] of prompts.entries()) {
        if (number > 0 && !flags.json) print("\n");
        if (streams) print(prompt);
        const texts = await sampleText(model, tokenizer, { ...options, prompt });
        texts.forEach((text, index) => {
          if (flags.json)
            printJson({ v: 1, event: "sample", path: found.path, step: checkpoint.training?.step, index, seed, prompt, text });
          else if (!streams) print(`${index > 0 ? "\n" : ""}--- ${index + 1}\n${text}\n`);
        });
        if (streams) print("\n");
      }
    } catch (error) {
      if (stop.exitCode === undefined) throw error;
      if (streams) print("\n");
    } finally {
      model.dispose();
    }
    return stop.exitCode ?? 0;
  });
}

/** The prompts: a line each of a file, or of stdin, or the one that was given. */
function readPrompts({ prompt, prompts }: SampleFlags): readonly string[] {
  if (prompts === undefined) return [prompt];
  const source = prompts === "-" ? "stdin" : prompts;
  let text: string;
  try {
    text = readFileSync(prompts === "-" ? 0 : prompts, "utf8");
  } catch (cause) {
    throw new GatewiseError("E_DATA", `could not read the prompts in ${source}: ${(cause as Error).message}`, { cause });
  }
  const lines = text.split(/\r?\n/).filter((line) => line !== "");
  if (lines.length === 0) throw new GatewiseError("E_DATA", `${source} has no prompt; give one a line`);
  return lines;
}
