// A file from anywhere is read or refused: at once, with an error of Gatewise's own, and for no more memory than it has.
import { afterAll, describe, expect, it } from "vitest";
import { openDevice } from "../../src/runtime/open.ts";
import { loadCheckpoint } from "../../src/training/checkpoint.ts";
import { readSafetensors, writeSafetensors } from "../../src/training/safetensors.ts";
import { largestAsked, MUTATIONS, tryMutations, useCheckpoint, wholeCheckpoints } from "../fixtures/mutated-checkpoints.ts";

const device = await openDevice({ prefer: "cpu" });
afterAll(() => device.dispose());

describe("a checkpoint", async () => {
  const files = await wholeCheckpoints(device);

  /** A whole file with fields of one entry of its metadata changed. */
  const claiming = (file: Uint8Array, key: "config" | "training", change: (value: any) => object): Uint8Array => {
    const { tensors, metadata } = readSafetensors(file);
    return writeSafetensors({ tensors, metadata: { ...metadata, [key]: JSON.stringify(change(JSON.parse(metadata[key]!))) } });
  };

  it("damaged in 2,000 ways gives only GatewiseErrors, each within 50 ms, and asks for at most twice its size", async () => {
    const { findings, outcomes, refusedKinds } = await tryMutations(device, 2_000);
    expect(findings).toEqual([]);
    // Some changes are harmless, and no kind of damage always is.
    expect(outcomes.read).toBeGreaterThan(100);
    expect(outcomes.E_BAD_CHECKPOINT).toBeGreaterThan(1_000);
    expect([...refusedKinds].sort()).toEqual(Object.keys(MUTATIONS).sort());
  });

  it("that is whole asks for its tensors, which shows that asking is seen", () => {
    for (const file of files) {
      const asked = largestAsked(() => useCheckpoint(device, file));
      expect(asked).toBeGreaterThan(1_000);
      expect(asked).toBeLessThanOrEqual(2 * file.length);
    }
    expect(largestAsked(() => new Float64Array(1_000).slice(10))).toBe(8_000);
    expect(largestAsked(() => Float32Array.from([1, 2, 3]))).toBe(12);
    expect(largestAsked(() => new Uint8Array(8).buffer.slice(0))).toBe(8);
  });

  it("that claims 12,000 hidden units is refused before anything is made for them", () => {
    for (const file of files) {
      const liar = claiming(file, "config", (config) => ({ ...config, hiddenSize: 12_000 }));
      // A machine that does something else in between is slow once, not always.
      const took = Array.from({ length: 5 }, () => {
        const begun = performance.now();
        const asked = largestAsked(() =>
          expect(() => useCheckpoint(device, liar)).toThrow(/"rnn\.weight_ih_l0" must be \[\d+000, \d+\], got \[\d+, \d+\]/),
        );
        expect(asked).toBe(0);
        return performance.now() - begun;
      });
      expect(Math.min(...took)).toBeLessThan(50);
    }
  });

  it("that claims a large batch of random windows is resumed without anything made for it", () => {
    const liar = claiming(files[1]!, "training", (training) => ({
      ...training,
      options: { ...training.options, batchSize: 2 ** 25 },
    }));
    expect(largestAsked(() => useCheckpoint(device, liar))).toBeLessThanOrEqual(2 * liar.length);
    const larger = claiming(files[1]!, "training", (training) => ({
      ...training,
      options: { ...training.options, batchSize: 2 ** 40 },
    }));
    expect(() => useCheckpoint(device, larger)).toThrow(expect.objectContaining({ code: "E_LIMIT" }));
  });

  it("is read the same from an ArrayBuffer, from Node's Buffer and from any view, and from nothing that is no bytes", () => {
    const file = files[0]!;
    const shifted = new Uint8Array(file.length + 24);
    shifted.set(file, 8);
    const shared = new SharedArrayBuffer(file.length);
    new Uint8Array(shared).set(file);
    const whole = loadCheckpoint(file);
    const forms = [
      file.slice().buffer,
      shared,
      Buffer.from(file),
      shifted.subarray(8, 8 + file.length),
      new DataView(shifted.buffer, 8, file.length),
      new Uint8ClampedArray(file),
    ];
    for (const form of forms) {
      const { tensors, ...rest } = loadCheckpoint(form);
      expect({ ...rest, tensors }).toEqual(whole);
      for (const { data } of Object.values(tensors)) expect(data.buffer).toBeInstanceOf(ArrayBuffer);
    }
    for (const other of [
      "file.safetensors",
      7,
      null,
      undefined,
      [...file.subarray(0, 20)],
      Promise.resolve(file),
      { length: 8 },
    ]) {
      expect(() => loadCheckpoint(other as never)).toThrow(expect.objectContaining({ code: "E_DATA" }));
    }
  });
});
