// How long a layer takes over a text as long as one likes: of one that is a scan, and of one that goes step by step.
import { timeInterleaved } from "../../bench/measure.ts";
import type { CellName } from "../../models/cells.ts";
import { Recurrent } from "../../models/recurrent.ts";
import type { Device } from "../../runtime/device.ts";

export const CLOCK_LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096] as const;
export const CLOCK_UNITS = 64;
/** Rounds that count; one before them warms up. */
const ROUNDS = 2;

/** A chain, and a scan. */
const CELLS: readonly CellName[] = ["lstm", "min-gru"];

/** Milliseconds of a pass forward and backward over one row of T steps, the least of the rounds, of the chain and of the scan. */
export async function timeLayers(device: Device, T: number): Promise<readonly number[]> {
  const layers = CELLS.map((cell) =>
    Recurrent.create(device, { cell, inputSize: CLOCK_UNITS, hiddenSize: CLOCK_UNITS, seed: 1 }),
  );
  try {
    const [x, dOutput] = [Math.sin, Math.cos].map((wave) => Float32Array.from({ length: T * CLOCK_UNITS }, (_, i) => wave(i)));
    const subjects = layers.map((layer) => ({
      times: 1,
      run: async () => {
        await layer.forward(x!, { T, B: 1 });
        await layer.backward(dOutput!);
      },
    }));
    return (await timeInterleaved(subjects, ROUNDS)).map(({ min }) => min);
  } finally {
    for (const layer of layers) layer.dispose();
  }
}
