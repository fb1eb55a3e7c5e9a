// Puts faults into the shaders named in GATEWISE_MUTATE, one at a time, and runs the checks of the kernels that have them.
// Run by scripts/mutants.mjs.
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Device } from "../../src/runtime/device.ts";
import type { Entry, ShaderFile } from "../../src/runtime/kernel.ts";
import { differences } from "../../src/runtime/verify.ts";
import { allEntries } from "../../src/training/kernel-list.ts";
import { testDevice } from "../gpu/device.ts";
import { extraCases } from "../gpu/extra-cases.ts";
import { faults } from "../gpu/guards.ts";
import equivalent from "./equivalent.json";

/** Mutants of a file at the most, spread over it; all of them with GATEWISE_MUTANTS=all. */
const MOST = process.env.GATEWISE_MUTANTS === "all" ? Infinity : 60;

/** What is replaced, and by what. */
const OPERATORS: readonly (readonly [RegExp, string | ((...groups: string[]) => string)])[] = [
  [/ \+ /g, " - "],
  [/ - /g, " + "],
  [/ \* /g, " + "],
  [/ \/ /g, " * "],
  [/ % /g, " / "],
  [/ < /g, " <= "],
  [/ <= /g, " < "],
  [/ > /g, " >= "],
  [/ >= /g, " > "],
  [/ == /g, " != "],
  [/ != /g, " == "],
  [/ && /g, " || "],
  [/ \|\| /g, " && "],
  [/ \+= /g, " -= "],
  [/ \*= /g, " += "],
  [/\bmin\(/g, "max("],
  [/\bmax\(/g, "min("],
  [/\bclamp\(([^,()]+),[^()]*\)/g, (_, value) => value!],
  [/\b(?:workgroup|storage)Barrier\(\);/g, ""],
  [/\.x\b/g, ".y"],
  [/\.y\b/g, ".x"],
  [/\.z\b/g, ".w"],
  [/\.w\b/g, ".z"],
  [/\b(\d+)u\b/g, (_, digits) => `${Number(digits) + 1}u`],
  [/if \(.*\) \{$/g, "if (false) {"],
  [/select\((.+), (.+), /g, (_, a, b) => `select(${b}, ${a}, `],
];

interface ShaderMutant {
  /** From 0. */
  readonly at: number;
  readonly before: string;
  readonly after: string;
}

/** All mutants of a shader; none that could make a loop endless, since a GPU's loop cannot be stopped. */
function mutantsOf(source: string): ShaderMutant[] {
  const found: ShaderMutant[] = [];
  source.split("\n").forEach((line, at) => {
    const code = line.replace(/\/\/.*/, "").trimEnd();
    if (/^(@|const|alias|struct|enable|override|var<)|^\s+\w+: [\w<>, ]+,$|@builtin|\bwhile\b|\bloop\b|break if/.test(code))
      return;
    // Of a loop's head only the start and an upper bound.
    const head = /^(\s*for \()(.*;.*<[^;]*)(;[^;]*\{)$/.exec(code);
    if (/\bfor \(/.test(code) && !head) return;
    const [before, body, after] = head ? [head[1]!, head[2]!, head[3]!] : ["", code, ""];
    for (const [pattern, replacement] of OPERATORS) {
      for (const match of body.matchAll(pattern)) {
        const text = typeof replacement === "string" ? replacement : replacement(...match);
        const mutated = body.slice(0, match.index) + text + body.slice(match.index + match[0].length);
        if (mutated !== body) found.push({ at, before: line, after: before + mutated + after });
      }
    }
  });
  return found;
}

/** The functions of some WGSL, from the first line of one to that of the next, with what they mention. */
function functionsOf(source: string): { name: string; from: number; to: number; text: string }[] {
  const lines = source.split("\n");
  const starts = lines.flatMap((line, i) => {
    const name = /^(?:@[^f]*)?fn (\w+)/.exec(line)?.[1];
    return name ? [{ name, from: i }] : [];
  });
  return starts.map(({ name, from }, i) => {
    const to = starts[i + 1]?.from ?? lines.length;
    return { name, from, to, text: lines.slice(from, to).join("\n") };
  });
}

/** Whether function `to` runs where `from` does. */
function reaches(functions: ReturnType<typeof functionsOf>, from: string, to: string): boolean {
  const seen = new Set<string>();
  const queue = [from];
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (name === to) return true;
    if (seen.has(name)) continue;
    seen.add(name);
    const body = functions.filter((each) => each.name === name).map(({ text }) => text);
    queue.push(...functions.map((each) => each.name).filter((each) => body.some((text) => text.includes(`${each}(`))));
  }
  return false;
}

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

const flat = (files: readonly ShaderFile[]): ShaderFile[] =>
  files.flatMap((file) => [file, ...(file.withSubgroups ? [file.withSubgroups] : [])]);

const withSource = (file: ShaderFile, name: string, source: string): ShaderFile => ({
  ...file,
  ...(file.name === name && { source }),
  ...(file.withSubgroups && { withSubgroups: withSource(file.withSubgroups, name, source) }),
});

/** Runs the checks until one fails: "found", "survived", or "invalid" if it does not compile. */
async function verdict(
  name: string,
  source: string,
  mutant: ShaderMutant,
  id: string,
): Promise<"found" | "survived" | "invalid"> {
  const lines = source.split("\n");
  lines[mutant.at] = mutant.after;
  const mutated = lines.join("\n");
  const inside = functionsOf(source).find(({ from, to }) => mutant.at >= from && mutant.at < to)?.name;
  for (const [, plain] of allEntries()) {
    if (!flat(plain.files).some((file) => file.name === name)) continue;
    const functions = flat(plain.files).flatMap((file) => functionsOf(file.source));
    const entry: Entry = {
      ...plain,
      kernel: `${plain.kernel} ${id}`,
      files: plain.files.map((file) => withSource(file, name, mutated)),
    };
    const cases = [...entry.cases(), ...extraCases(entry)];
    for (const variant of entry.variants) {
      if (inside && !reaches(functions, variant.entryPoint ?? entry.name, inside)) continue;
      try {
        if ((await differences(device, entry, cases, [variant])).length > 0) return "found";
        if ((await faults(device, entry, [variant])).length > 0) return "found";
      } catch (error) {
        if ((error as { code?: string }).code === "E_SHADER") return "invalid";
        return "found";
      }
    }
  }
  return "survived";
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);

it.each((process.env.GATEWISE_MUTATE ?? "").split(",").filter(Boolean))("%s: the checks find every mutant", async (file) => {
  const name = file.replace(/^.*\/|\.wgsl$/g, "");
  const source = [...allEntries()].flatMap(([, { files }]) => flat(files)).find((each) => each.name === name)?.source;
  if (source === undefined) return say(`${file}: in no kernel, so that no check runs it`);
  const known = (equivalent as { file: string; line: string; replace: string }[]).filter((each) => each.file === file);
  const isKnown = ({ before, after }: ShaderMutant): boolean =>
    known.some(({ line, replace }) => line === before.trim() && replace === after.trim());
  const all = mutantsOf(source).filter((mutant) => !isKnown(mutant));
  const some = all.filter(
    (_, i) => all.length <= MOST || Math.floor((i * MOST) / all.length) !== Math.floor(((i - 1) * MOST) / all.length),
  );
  const counts = { found: 0, survived: 0, invalid: 0 };
  const survivors: string[] = [];
  for (const [i, mutant] of some.entries()) {
    const result = await verdict(name, source, mutant, `mutant ${i}`);
    counts[result]++;
    if (result !== "survived") continue;
    survivors.push(`${mutant.before.trim()}  →  ${mutant.after.trim()}`);
    say(`✗ ${file}:${mutant.at + 1}: ${survivors.at(-1)}`);
  }
  say(
    `${file}: ${counts.found} of ${counts.found + counts.survived} found; ${counts.invalid} more do not compile; ${all.length} in all`,
  );
  expect(survivors).toEqual([]);
});
