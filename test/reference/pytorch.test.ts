// The reference against PyTorch, to 1e-12 in float64: the layer, the loss and the optimizers.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openDevice } from "../../src/runtime/open.ts";
import { worstTensor } from "../../src/training/check/comparisons.ts";
import { compareCase, compareCrossEntropy, compareOptimizer, type Breakage } from "../fixtures/compare.ts";
import { decodeFixtures, nameOf, readFixtures, type FixtureCase } from "../fixtures/read.ts";

const device = await openDevice({ prefer: "cpu", precision: "float64" });
const fixtures = await readFixtures();
afterAll(() => device.dispose());

describe("the layer equals PyTorch's to 1e-12, forward and backward:", () => {
  for (const each of fixtures.cases) {
    it(`${each.cell} with ${nameOf(each)}`, async () => {
      const { forward, gradients } = await compareCase(device, fixtures, each);
      expect(forward.error, forward.tensor).toBeLessThan(1e-12);
      expect(gradients.error, gradients.tensor).toBeLessThan(1e-12);
    });
  }
});

describe("the comparison reports, naming a tensor,", () => {
  /** Breakages that the forward pass shows, and the cells that they can befall; all, where none are named. */
  const forwardBreakages: readonly (readonly [Breakage, ...FixtureCase["cell"][]])[] = [
    ["swap-gates", "gru", "gru-reset-before", "lstm"],
    ["other-reset", "gru", "gru-reset-before"],
    ["drop-bias"],
    ["transpose"],
    ["shift-time"],
  ];
  // Of this shape some results are stored whole and others summarized.
  const cases = fixtures.cases.filter((c) => c.T === 17 && c.hiddenSize === 16 && c.bias);
  for (const each of cases) {
    for (const [breakage, ...cells] of forwardBreakages) {
      if (cells.length > 0 && !cells.includes(each.cell)) continue;
      it(`${breakage} of ${each.cell}`, async () => {
        const { forward, gradients } = await compareCase(device, fixtures, each, breakage);
        expect(forward.error).toBeGreaterThan(1e-3);
        expect(forward.tensor).toMatch(/^(output|hN|cN)$/);
        expect(gradients.error).toBeGreaterThan(1e-3);
        expect(each.results).toContain(gradients.tensor);
      });
    }
    it(`a gradient of ${each.cell} that is zero`, async () => {
      const { forward, gradients } = await compareCase(device, fixtures, each, "zero-gradient");
      expect(forward.error).toBeLessThan(1e-12);
      expect(gradients).toMatchObject({ error: expect.closeTo(1, 5), tensor: "weight_hh_l0" });
    });
    it(`a last row of the batch that ${each.cell} leaves out`, async () => {
      const { forward, gradients } = await compareCase(device, fixtures, each, "skip-last-row");
      expect(forward.error).toBeLessThan(1e-12);
      expect(gradients.error).toBeGreaterThan(1e-3);
      expect(each.results).toContain(gradients.tensor);
    });
  }
});

describe("ten steps equal PyTorch's to 1e-12, parameters, norms and moments:", () => {
  for (const each of fixtures.optimizers) {
    const { optimizer, weightDecay, momentum, clip } = each;
    it(`${optimizer} with weight decay ${weightDecay}, momentum ${momentum}, clip ${clip}`, async () => {
      const { error, tensor } = await compareOptimizer(device, fixtures, each);
      expect(error, tensor).toBeLessThan(1e-12);
      // Some steps are clipped, others are not.
      const norms = [...fixtures.values.get(`${each.number}/norms`)!];
      if (clip > 0) expect(new Set(norms.map((norm) => norm > clip))).toEqual(new Set([true, false]));
    });
  }

  it("and the comparison names what differs", async () => {
    const each = fixtures.optimizers.find((o) => o.optimizer === "adamw" && o.weightDecay > 0)!;
    const coupled = await compareOptimizer(device, fixtures, { ...each, optimizer: "adam" });
    const unclipped = await compareOptimizer(device, fixtures, { ...each, clip: 0 });
    for (const { error, tensor } of [coupled, unclipped]) {
      expect(error).toBeGreaterThan(1e-3);
      expect(["parameters", "m", "v"]).toContain(tensor);
    }
  });
});

describe("the mean cross-entropy and its gradient equal PyTorch's to 1e-12, ignored targets included:", () => {
  for (const each of fixtures.crossEntropy) {
    it(`${each.N} rows of ${each.V} logits`, async () => {
      const { error, tensor } = await compareCrossEntropy(device, fixtures, each);
      expect(error, tensor).toBeLessThan(1e-12);
    });
  }
  it("and the comparison names what differs", async () => {
    const each = fixtures.crossEntropy.at(-1)!;
    const targets = each.targets.map((target) => (target < 0 ? 0 : target));
    const { error, tensor } = await compareCrossEntropy(device, fixtures, { ...each, targets });
    expect(error).toBeGreaterThan(1e-3);
    expect(["loss", "rows", "dLogits"]).toContain(tensor);
  });
});

describe("the fixtures", () => {
  const script = "test/fixtures/make.py";
  it("were written by the script beside them", () => {
    expect(fixtures.script).toBe(createHash("sha256").update(readFileSync(script)).digest("hex"));
  });

  it("hold every pair of values of any two sizes or options, for every cell", () => {
    const values: Readonly<Record<string, readonly unknown[]>> = {
      T: [1, 2, 17],
      B: [1, 3],
      hiddenSize: [1, 5, 16, 65],
      numLayers: [1, 3],
      bidirectional: [false, true],
      bias: [true, false],
      inputSize: [1, 3, 7],
      unequal: [false, true],
    };
    for (const cell of ["rnn", "rnn-relu", "gru", "gru-reset-before", "lstm"]) {
      const own: Record<string, unknown>[] = fixtures.cases
        .filter((c) => c.cell === cell)
        .map((c) => ({ ...c, unequal: c.lengths !== null }));
      for (const [first, some] of Object.entries(values)) {
        for (const [second, others] of Object.entries(values)) {
          for (const a of some) {
            for (const b of others) {
              // A single step leaves no room for unequal lengths.
              const pair = { [first]: a, [second]: b };
              if (first === second || (pair.T === 1 && pair.unequal)) continue;
              expect(
                own.some((c) => c[first] === a && c[second] === b),
                `${cell} ${first}=${a} ${second}=${b}`,
              ).toBe(true);
            }
          }
        }
      }
    }
  });

  it("are small, and none of them is zero", () => {
    expect(statSync("test/fixtures/pytorch.safetensors").size).toBeLessThan(1_000_000);
    for (const { number, results } of fixtures.cases) {
      for (const name of results) expect(Math.hypot(...fixtures.values.get(`${number}/${name}`)!), name).toBeGreaterThan(1e-3);
    }
  });

  it("are what PyTorch computes here, where it is installed", () => {
    const python = ["/usr/bin/python3", "python3"].find((name) => spawnSync(name, ["-c", "import torch"]).status === 0);
    if (!python) {
      console.log("PyTorch is not installed: the committed fixtures were compared, not made again");
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), "gatewise-fixtures-"));
    try {
      const { status, stderr } = spawnSync(python, [script, folder], { encoding: "utf8" });
      expect(status, stderr).toBe(0);
      const file = readFileSync(join(folder, "pytorch.safetensors"));
      const again = decodeFixtures(file.buffer.slice(file.byteOffset, file.byteOffset + file.length) as ArrayBuffer);
      const all = (values: ReadonlyMap<string, Float64Array>) => Object.fromEntries(values);
      const { error, tensor } = worstTensor(all(again.values), all(fixtures.values));
      expect(error, tensor).toBeLessThan(1e-13);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
