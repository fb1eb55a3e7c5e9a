// What --json prints is as docs/events.schema.json says, and that knows every event and every option.
import { readFileSync, writeFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { beforeAll, expect, it, vi } from "vitest";
import { CELL_NAMES } from "../../src/models/cells.ts";
import { openDevice, type OpenDeviceOptions } from "../../src/runtime/open.ts";
import { TRAINING_DEFAULTS } from "../../src/training/options.ts";
import { gatewise, lines, workInFolder } from "./command-line.ts";

vi.mock("../../src/cli/version.ts", () => ({ version: () => "1.2.3" }));
vi.mock("../../src/runtime/node.ts", async (load) => ({
  ...(await load<object>()),
  openNodeDevice: (options: OpenDeviceOptions) => openDevice(options),
}));
const schema = JSON.parse(readFileSync("docs/events.schema.json", "utf8"));
const validate = new Ajv2020({ allErrors: true, strict: true, strictTypes: false, strictRequired: false }).compile(schema);
workInFolder("events");
writeFileSync("text.txt", "It was the best of times, it was the worst of times; ".repeat(40));
const TINY = ["--device", "cpu", "--hidden", "6", "--embedding", "4", "--batch", "4", "--seq", "8", "--data", "text.txt"];
const OFTEN = ["--steps", "4", "--log-every", "1", "--eval-every", "2", "--sample-every", "2", "--checkpoint-every", "2"];

const printed: any[] = [];
async function print(...args: string[]): Promise<void> {
  const { code, out, err } = await gatewise(...args, "--json");
  expect(code, err).toBe(0);
  printed.push(...lines(out));
}
beforeAll(async () => {
  await print("train", ...TINY, ...OFTEN, "--val", "0.1", "--test", "0.1", "--out", "run");
  await print("train", "--resume", "run", "--steps", "6");
  await print(
    "train",
    ...TINY,
    ...OFTEN,
    "--val",
    "0",
    "--tokenizer",
    "bpe",
    "--vocab-size",
    "260",
    "--cell",
    "mamba",
    "--embedding",
    "6",
  );
  await print("train", ...TINY, ...OFTEN, "--log-every", "0", "--steps", "2", "--eval-every", "0");
  await print(
    "train",
    ...TINY,
    ...OFTEN,
    "--val",
    "0.1",
    "--lr",
    "1e-30",
    "--optimizer",
    "sgd",
    "--patience",
    "1",
    "--steps",
    "50",
  );
  await print("train", ...TINY, ...OFTEN, "--steps", "1000000", "--time", "0.3s");
  await print("sample", "run", "--device", "cpu", "--length", "5", "--count", "2");
  await print("eval", "run", "--device", "cpu", "--split", "test");
  await print("list", ".");
  await print("plot", "run");
  await print("info", "run");
  await print("compare", ...TINY, "--steps", "2", "--eval-every", "1", "--presets", "gru,min-gru");
  await print("memory", "--device", "cpu", "--task", "adding", "--lag", "3", "--presets", "gru", "--steps", "1");
  await print("check", "--device", "cpu", "--quick", "--cell", "rnn");
  await print("bench", "--device", "cpu", "--kernel", "softmax", "--rounds", "1");
  await print("export", "run", "exported", "--to", "pytorch");
  await print("import", "exported", "--out", "imported");
  printed.push(...lines((await gatewise("doctor", "--json")).out));
});
/** The kind of event that a line is: its name, and for names that two have what it holds. */
const kindOf = (event: any): string =>
  kinds.find((name) => {
    const { properties, required } = schema.$defs[name];
    return properties.event.const === event.event && required.every((field: string) => field in event);
  })!;
const kinds = Object.keys(schema.$defs).filter((name) => schema.$defs[name].properties?.event);

it("every line that the commands print is valid, and every kind of event is among them", () => {
  for (const event of printed) {
    validate(event);
    expect(
      validate.errors?.map(({ instancePath, message }) => `${instancePath} ${message}`),
      JSON.stringify(event),
    ).toBeUndefined();
  }
  expect([...new Set(printed.map(kindOf))].sort()).toEqual([...kinds].sort());
  const ends = printed.filter((event) => kindOf(event) === "end").map(({ reason }) => reason);
  expect(new Set(ends)).toEqual(new Set(["done", "patience", "time"]));
});

it("a line without one of its fields, or with another, is not", () => {
  for (const event of printed) {
    expect(validate({ ...event, another: 1 })).toBe(false);
    for (const field of ["v", "event", ...schema.$defs[kindOf(event)].required]) {
      const { [field]: _, ...rest } = event;
      expect(validate(rest), `${event.event} without ${field}`).toBe(false);
    }
  }
});

it("the schema has every training option, and every cell", () => {
  expect(Object.keys(schema.$defs.options.properties).sort()).toEqual(Object.keys(TRAINING_DEFAULTS).sort());
  expect([...schema.$defs.options.required].sort()).toEqual(Object.keys(TRAINING_DEFAULTS).sort());
  expect(schema.$defs.config.properties.cell.enum).toEqual(CELL_NAMES);
});
