// The reference's backward against central finite differences, in float64, for the whole model: every cell, layer
// count, input and loss.
import { afterAll, describe, expect, it } from "vitest";
import { addCell, cellForms, inBlock } from "../../src/models/cells.ts";
import { languageModelConfig, type LanguageModelConfig } from "../../src/models/config.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { CHECKED_CELLS } from "../../src/training/gradient-check.ts";
import { compareWithDifferences, worstTensor } from "../../src/training/check/comparisons.ts";
import { makePassHarness, type PassHarness, type PassSizes } from "../../src/training/check/harness.ts";
import { BREAKAGES } from "../../src/training/check/sabotage.ts";
import { indrnnCell } from "../cells/indrnn.ts";
import { mguCell } from "../cells/mgu.ts";
import { ugrnnCell } from "../cells/ugrnn.ts";

const device = await openDevice({ prefer: "cpu", precision: "float64" });
afterAll(() => device.dispose());
// Cells that the library does not have: whatever is asked of all cells is asked of them too.
afterAll(addCell("indrnn", indrnnCell));
afterAll(addCell("ugrnn", ugrnnCell));
afterAll(addCell("mgu", mguCell));

const small = { vocabSize: 7, embeddingSize: 3, hiddenSize: 5 };
/** In a block embeddings are as wide as states, two at least: the norm of one number is that number's sign. */
function configOf(options: Partial<LanguageModelConfig>): LanguageModelConfig {
  const all = { cell: "lstm" as const, ...small, ...options };
  const hiddenSize = inBlock(all) ? Math.max(2, all.hiddenSize) : all.hiddenSize;
  return languageModelConfig({ ...all, hiddenSize, ...(inBlock(all) && { embeddingSize: hiddenSize }) });
}

async function expectEqual(options: Partial<LanguageModelConfig>, sizes: PassSizes): Promise<void> {
  const { error, tensor, detail, tolerance } = await compareWithDifferences(device, "", configOf(options), sizes);
  expect(tolerance).toBe(1e-6);
  expect(error, `${tensor} ${detail}`).toBeLessThan(tolerance);
}

describe("the reference's gradients equal finite differences", () => {
  for (const [name, cell] of Object.entries({ ...CHECKED_CELLS, ...cellForms() })) {
    for (const numLayers of [1, 3]) {
      for (const loss of ["all", "last"] as const) {
        it(`${name}, ${numLayers} layer${numLayers > 1 ? "s" : ""}, loss on ${loss} steps`, () =>
          expectEqual({ ...cell, numLayers }, { T: 4, B: 3, loss }));
      }
    }
    it(`${name}, one row, one step and one unit`, () =>
      expectEqual({ ...cell, vocabSize: 2, embeddingSize: 1, hiddenSize: 1 }, { T: 1, B: 1, loss: "all" }));
  }
  it("with dropout between layers", () => expectEqual({ cell: "gru", dropout: 0.4, numLayers: 2 }, { T: 4, B: 3, loss: "all" }));
  it("with a vocabulary larger than the batch, where the plain product serves", () =>
    expectEqual({ cell: "lstm", vocabSize: 33 }, { T: 3, B: 2, loss: "all" }));
});

describe("a pass leaves nothing that the next one begins from:", () => {
  it.each(Object.entries({ ...CHECKED_CELLS, ...cellForms() }))("%s", async (_, cell) => {
    const sizes: PassSizes = { T: 9, B: 2, loss: "all" };
    const harness = await makePassHarness(device, configOf({ ...cell, numLayers: 2 }), sizes);
    const passes: object[] = [];
    for (let pass = 0; pass < 2; pass++) passes.push({ loss: await harness.run(), ...(await harness.readGradients()) });
    expect(passes[1]).toEqual(passes[0]);
    harness.dispose();
  });
});

describe("the comparison can fail", () => {
  const sizes: PassSizes = { T: 4, B: 3, loss: "all" };
  const compareBroken = async (breakIt: (harness: PassHarness) => PassHarness) => {
    const config = configOf({ cell: "lstm" });
    const harness = await makePassHarness(device, config, sizes);
    const result = await compareWithDifferences(device, "", config, sizes, breakIt(harness));
    harness.dispose();
    return result;
  };

  it("names the parameter whose gradient has two gates swapped", async () => {
    const result = await compareBroken((harness) => ({
      ...harness,
      async readGradients() {
        const gradients = { ...(await harness.readGradients()) };
        const swapped = gradients["rnn.weight_hh_l0"]!.slice();
        const gate = swapped.length / 4;
        swapped.copyWithin(0, gate, 2 * gate).set(gradients["rnn.weight_hh_l0"]!.subarray(0, gate) as never, gate);
        return { ...gradients, "rnn.weight_hh_l0": swapped };
      },
    }));
    expect(result).toMatchObject({ passed: false, tensor: "rnn.weight_hh_l0" });
  });

  it("names the bias that the forward pass drops", async () => {
    const result = await compareBroken((harness) => ({
      ...harness,
      async run() {
        const bias = harness.model.parameters.byName["head.bias"]!;
        const kept = await device.read(bias);
        device.write(bias, new Float64Array(kept.length));
        const loss = await harness.run();
        device.write(bias, kept);
        return loss;
      },
    }));
    expect(result).toMatchObject({ passed: false, tensor: "head.bias" });
  });
});

describe("what breaks a model on purpose looks at what parameters it has:", () => {
  const sizes: PassSizes = { T: 4, B: 3, loss: "all" };
  // It has one form.
  const broken = BREAKAGES.filter((breakage) => breakage !== "reset-before");
  it.each(broken)("%s is seen in a cell without a matrix of its state", async (breakage) => {
    const config = configOf({ cell: "indrnn" as never });
    const results: Record<string, ArrayLike<number>>[] = [];
    for (const options of [{}, { breakage }]) {
      const harness = await makePassHarness(device, config, sizes, options);
      const loss = await harness.run();
      results.push({ ...(await harness.readGradients()), loss: [loss] });
      harness.dispose();
    }
    expect(worstTensor(results[1]!, results[0]!).error).toBeGreaterThan(1e-2);
  });
});
