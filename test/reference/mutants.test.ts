// The lists of faults in test/mutants, against the sources that they are put into.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

const read = (path: string): string => readFileSync(path, "utf8");
const mutants = (name: string): any[] => JSON.parse(read(`test/mutants/${name}`));

it("every fault that the mutants' lists put into a file has one place there, and tests that are to find it", () => {
  const lists = readdirSync("test/mutants").filter((name) => name.endsWith(".json") && name !== "equivalent.json");
  for (const { file, name, search, replace, tests } of lists.flatMap(mutants)) {
    expect(read(file).split(search).length - 1, `places of "${name}" in ${file}`).toBe(1);
    expect(replace, name).not.toBe(search);
    expect(tests.length, name).toBeGreaterThan(0);
    for (const test of tests) expect(existsSync(test), `${name}: ${test}`).toBe(true);
  }
});

it("the lines that count as equivalent mutants are still there", () => {
  for (const { file, line } of mutants("equivalent.json"))
    expect(
      read(file)
        .split("\n")
        .map((each) => each.trim()),
      file,
    ).toContain(line);
});
