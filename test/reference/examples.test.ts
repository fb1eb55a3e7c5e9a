// Every example of the README, of docs/ and of the doc comments runs, as its readers would paste it.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { transform } from "esbuild";
import { describe, expect, it, vi } from "vitest";
import { root } from "../../scripts/environment.mjs";
import * as gatewise from "../../src/index.ts";
import * as interop from "../../src/interop/index.ts";

const text = 'Alice saw the hat, and the hat saw Alice: "Alice!" '.repeat(120);
const [T, B] = [3, 2];

/** What examples begin from without saying where they have it; each gets its own. */
async function surroundings() {
  const device = await gatewise.openDevice({ prefer: "cpu" });
  const tokenizer = gatewise.CharTokenizer.fromText(text);
  const model = gatewise.LanguageModel.create(device, { cell: "lstm", vocabSize: tokenizer.size, hiddenSize: 8 });
  const trainer = gatewise.Trainer.create(model, tokenizer.encode(text), { tokenizer, batchSize: 2, seqLen: 8 });
  return {
    ...gatewise,
    ...interop,
    // No reader's device is meant, and the first steps show whether the others would run.
    openDevice: (options = {}) => gatewise.openDevice({ ...options, prefer: "cpu" }),
    openNodeDevice: () => gatewise.openDevice({ prefer: "cpu" }),
    Trainer: {
      create: (...given: Parameters<typeof gatewise.Trainer.create>) => {
        const made = gatewise.Trainer.create(...given);
        const run = made.run.bind(made);
        return Object.assign(made, { run: () => run({ maxSteps: 2 }) });
      },
    },
    device,
    text,
    tokenizer,
    model,
    trainer,
    T,
    B,
    lengths: [3, 1],
    x: new Float32Array(T * B * 3).fill(0.5),
    dOutput: new Float32Array(T * B * 16).fill(0.1),
    dhN: undefined,
    dcN: undefined,
    bytes: await gatewise.saveCheckpoint(trainer),
    MyTokenizer: gatewise.CharTokenizer,
    writeFileSync: vi.fn(),
    console: { log: vi.fn(), warn: vi.fn() },
  };
}

async function run(source: string): Promise<void> {
  const around = await surroundings();
  // The rest of what an example imports stands around it.
  const { code } = await transform(source.replace(/^import .*$/gm, ""), { loader: "ts", format: "esm", target: "es2022" });
  const made = Object.getPrototypeOf(run).constructor as new (...source: string[]) => (...values: unknown[]) => Promise<void>;
  await new made(...Object.keys(around), `{ ${code} }`)(...Object.values(around));
  around.device.dispose();
}

const pages = ["README.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith(".md"),
);
const ofPages = pages.flatMap((page) =>
  [...readFileSync(join(root, page), "utf8").matchAll(/^```(?:ts|js)\n(.*?)^```$/gms)].map(
    ([, code], i) => [`${page} ${i + 1}`, code!] as const,
  ),
);
const ofComments = ["index", "interop", "node"].flatMap((name) =>
  [...readFileSync(join(root, `dist/${name}.d.ts`), "utf8").matchAll(/@example\n(.*?)\*\/\n(.*?)$/gms)].map(
    ([, code, declared]) => [declared!.trim(), code!.replace(/^\s*\* ?/gm, "").replace(/^@.*/ms, "")] as const,
  ),
);

it("finds the examples", () => {
  expect(ofPages.length).toBeGreaterThan(3);
  expect(ofComments.length).toBeGreaterThan(8);
});
describe("an example runs:", () => {
  it.each([...ofPages, ...ofComments])("%s", async (_, code) => {
    await run(code);
  });
});
it("one that is wrong does not", async () => {
  await expect(run(`LanguageModel.create(device, { cell: "lstm", vocabulary: 3 });`)).rejects.toThrow(/vocabulary/);
});
