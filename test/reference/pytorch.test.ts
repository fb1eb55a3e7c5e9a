// The reference against PyTorch, to 1e-12 in float64: the layer, the loss and the optimizers.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { softmaxCrossEntropy } from "../../src/kernels/softmax-cross-entropy.ts";
import { METRIC } from "../../src/kernels/reduce.ts";
import { openDevice } from "../../src/runtime/device.ts";
import { worstTensor } from "../../src/training/gradient-check.ts";
import { BETA1, BETA2, OPTIMIZERS, recordUpdate, type OptimizerName } from "../../src/training/optimizers.ts";
import { compareCase, type Breakage } from "../fixtures/compare.ts";
import { decodeFixtures, draw, readFixtures } from "../fixtures/read.ts";

const device = await openDevice({ prefer: "cpu", precision: "float64" });
const fixtures = await readFixtures();
afterAll(() => device.dispose());

describe("the layer equals PyTorch's to 1e-12, forward and backward:", () => {
  for (const each of fixtures.cases) {
    const { cell, T, B, hiddenSize, numLayers, bidirectional, bias, lengths } = each;
    const name = `${cell} T=${T} B=${B} H=${hiddenSize} L=${numLayers}${bidirectional ? " both directions" : ""}${bias ? "" : " no bias"}${lengths ? ` lengths ${lengths.join()}` : ""}`;
    it(name, async () => {
      const { forward, gradients } = await compareCase(device, fixtures, each);
      expect(forward.error, forward.tensor).toBeLessThan(1e-12);
      expect(gradients.error, gradients.tensor).toBeLessThan(1e-12);
    });
  }
});

describe("the comparison reports, naming a tensor,", () => {
  const breakages: readonly Breakage[] = [
    "swap-gates",
    "drop-bias",
    "other-reset",
    "transpose",
    "shift-time",
    "zero-gradient",
    "skip-last-row",
  ];
  for (const breakage of breakages) {
    it(breakage, async () => {
      const each = fixtures.cases.find((c) => c.cell === "gru" && c.T === 17 && c.hiddenSize === 16)!;
      const { forward, gradients } = await compareCase(device, fixtures, each, breakage);
      const backwardOnly = breakage === "zero-gradient" || breakage === "skip-last-row";
      expect(forward.error > 1e-3).toBe(!backwardOnly);
      expect(gradients.error).toBeGreaterThan(1e-3);
      expect(gradients.tensor).not.toBe("");
      if (breakage === "zero-gradient") expect(gradients.tensor).toBe("weight_hh_l0");
    });
  }
});

describe("ten clipped steps with weight decay equal PyTorch's:", () => {
  for (const [i, name] of (["sgd", "rmsprop", "adam", "adamw"] as OptimizerName[]).entries()) {
    it(name, async () => {
      const vector = (label: string, length = 20) => device.tensor({ name: label, shape: [length] });
      const [parameters, gradients] = [vector("parameters"), vector("gradients")];
      const [schedule, metrics] = [vector("schedule", 4), vector("metrics", METRIC.count)];
      const moments = Object.fromEntries(
        (OPTIMIZERS[name].moments as readonly string[]).map((moment) => [moment, vector(moment)]),
      );
      device.write(parameters, draw(900 + i, 0, 20));
      const plan = await device.record("update", (recorder) =>
        recordUpdate(
          recorder,
          { parameters, gradients, moments, schedule, metrics },
          { optimizer: name, clip: 1.5, weightDecay: 0.01, momentum: 0.9 },
        ),
      );
      for (let step = 0; step < 10; step++) {
        device.write(gradients, draw(900 + i, 1 + step, 20));
        device.write(schedule, Float64Array.of(name === "sgd" ? 0.1 : 0.01, 1 - BETA1 ** (step + 1), 1 - BETA2 ** (step + 1), 0));
        await plan.run();
      }
      const { error } = worstTensor({ p: await device.read(parameters) }, { p: fixtures.values.get(`optimizer/${name}`)! });
      expect(error).toBeLessThan(1e-12);
      plan.dispose();
      device.free(parameters, gradients, schedule, metrics, ...Object.values(moments));
    });
  }
});

it("cross-entropy and its gradient equal PyTorch's, ignored targets included", async () => {
  const [N, V] = [9, 13];
  const logits = device.tensor({ name: "logits", shape: [N, V] });
  const targets = device.tensor({ name: "targets", shape: [N], dtype: "u32" });
  const rows = device.tensor({ name: "rows", shape: [N, 2], stored: [N, 2] });
  device.write(
    logits,
    draw(950, 0, N * V).map((x) => 5 * x),
  );
  device.write(targets, Uint32Array.of(0, 12, 5, 0xffffffff, 3, 3, 0xffffffff, 7, 1));
  const plan = await device.record("loss", (recorder) =>
    recorder.dispatch(softmaxCrossEntropy.backward, { logits, targets, rows }, { N, V, scale: 1 }),
  );
  await plan.run();
  const losses = (await device.read(rows)).filter((_, i) => i % 2 === 0);
  const actual = { rows: losses, dLogits: await device.read(logits) };
  const expected = { rows: fixtures.values.get("crossEntropy/rows")!, dLogits: fixtures.values.get("crossEntropy/dLogits")! };
  expect(worstTensor(actual, expected).error).toBeLessThan(1e-12);
  plan.dispose();
  device.free(logits, targets, rows);
});

describe("the fixtures", () => {
  const script = "test/fixtures/make.py";
  it("were written by the script beside them", () => {
    expect(fixtures.script).toBe(createHash("sha256").update(readFileSync(script)).digest("hex"));
  });

  it("cover every value of every size for every cell", () => {
    for (const cell of new Set(fixtures.cases.map((c) => c.cell))) {
      const own = fixtures.cases.filter((c) => c.cell === cell);
      const valuesOf = (key: keyof (typeof own)[number]) => new Set(own.map((c) => c[key]));
      expect(valuesOf("T")).toEqual(new Set([1, 2, 17]));
      expect(valuesOf("B")).toEqual(new Set([1, 3]));
      expect(valuesOf("hiddenSize")).toEqual(new Set([1, 5, 16, 65]));
      expect(valuesOf("numLayers")).toEqual(new Set([1, 3]));
      expect(valuesOf("bidirectional")).toEqual(new Set([true, false]));
      expect(valuesOf("bias")).toEqual(new Set([true, false]));
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
      expect(error, tensor).toBeLessThan(1e-11);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
