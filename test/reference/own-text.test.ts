// A text of one's own, from its bytes to a run that goes on: what the command line reads, and as which tokens.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { gatewise, lines } from "./command-line.ts";

vi.mock("../../src/cli/version.ts", () => ({ version: () => "1.2.3" }));

const start = process.cwd();
const folder = mkdtempSync(join(tmpdir(), "gatewise-own-"));
process.chdir(folder);
afterAll(() => {
  process.chdir(start);
  rmSync(folder, { recursive: true, force: true });
});
const TEXT = "It was the best of times, it was the worst of times; ".repeat(40);
writeFileSync("text.txt", TEXT);
const SMALL = ["--device", "cpu", "--hidden", "6", "--embedding", "4", "--batch", "4", "--seq", "8", "--sample-every", "0"];
const TINY = [...SMALL, "--eval-every", "0"];

/** Trains, and expects no complaint. */
async function train(...args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const done = await gatewise("train", ...args);
  expect(done, args.join(" ")).toMatchObject({ code: 0 });
  return done;
}
const startOf = async (...args: readonly string[]) => lines((await train(...args, "--json")).out)[0];

describe("a tokenizer", () => {
  it("of any kind is trained with, kept, sampled with, gone on with and told of", async () => {
    for (const [kind, vocabulary, said] of [
      ["byte", 256, "vocabulary of 256 (byte) · text: text, 2,120 tokens"],
      // By hand: 12 words, 12 spaces and 2 marks, 40 times; 8 of the words are different ones.
      ["word", 256 + 8, "vocabulary of 264 (word) · text: text, 1,040 tokens"],
      ["bpe", 260, /vocabulary of 260 \(bpe\) · text: text, [\d,]+ tokens/],
    ] as const) {
      const flags = ["--tokenizer", kind, ...(kind === "bpe" ? ["--vocab-size", "260"] : [])];
      const { err } = await train("--data", "text.txt", ...TINY, ...flags, "--steps", "2", "--out", kind);
      expect(err.split("\n")[1]).toMatch(said);
      expect(await startOf("--resume", kind, "--steps", "3")).toMatchObject({ step: 2, tokenizer: kind, vocabulary });
      expect(
        await gatewise("sample", kind, "--prompt", "It was é漢\r\n", "--length", "70", "--seed", "1", "--device", "cpu"),
      ).toMatchObject({
        code: 0,
        out: expect.stringMatching(/^It was é漢\n/),
      });
      const info = lines((await gatewise("info", kind, "--json")).out)[0];
      expect(info).toMatchObject({ tokenizer: kind, vocabulary });
      expect(info).not.toHaveProperty("characters");
      expect((await gatewise("info", kind)).out).toMatch(new RegExp(`^vocabulary +${vocabulary}: ${kind}$`, "m"));
    }
  });

  it("that is not the checkpoint's is refused, and a size for one whose vocabulary is what it is", async () => {
    const refused: [args: string[], message: string][] = [
      [["--resume", "byte", "--steps", "9", "--tokenizer", "char"], "--tokenizer char does not fit the checkpoint's model (byte); leave it out"],
      [["--init-from", "bpe", "--vocab-size", "300", "--data", "text.txt"], "--vocab-size 300 does not fit the checkpoint's model (260); leave it out"],
      [["--data", "text.txt", "--vocab-size", "300"], "--vocab-size must be left out with the tokenizer char, whose vocabulary is what it is; it is for word and bpe"],
    ]; // prettier-ignore
    for (const [args, message] of refused)
      expect(await gatewise("train", ...args)).toEqual({ code: 2, out: "", err: `gatewise: ${message}\n` });
  });
});
