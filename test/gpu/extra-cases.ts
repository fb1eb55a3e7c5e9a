// Cases at sizes at which several tiles of every variant lie side by side, and none of them is full.
import { fraction, randomWord } from "../../src/random.ts";
import type { CaseTensor, Entry, KernelCase } from "../../src/runtime/kernel.ts";

/** Sizes that follow from 9 or 17 rows and two steps, and what they are with 33 rows. */
const WIDENED: Readonly<Record<number, number>> = { 9: 33, 18: 66, 17: 33, 34: 66 };
const widen = (shape: readonly number[]): number[] => shape.map((n) => WIDENED[n] ?? n);

const widenedTensor = (tensor: CaseTensor): CaseTensor => ({
  ...tensor,
  shape: widen(tensor.shape),
  ...(tensor.stored && { stored: widen(tensor.stored) }),
});

/** The cases of a recurrent step with 9 rows of 65 units, or a sequence with 17 of 31, with 33 rows instead. */
export function extraCases(entry: Entry): readonly KernelCase[] {
  if (!("gather" in entry.params)) return [];
  return entry
    .cases()
    .filter(({ params: { B, H } }) => (B === 9 && H === 65) || (B === 17 && H === 31))
    .map(({ name, params, tensors }) => ({
      name: `${name}, with 33 rows`,
      params: { ...params, B: 33 },
      tensors: Object.fromEntries(Object.entries(tensors).map(([binding, tensor]) => [binding, widenedTensor(tensor)])),
    }));
}

/** A case whose numbers are of very different sizes: each is divided by a power of two of its own. */
export const ofAllSizes = (each: KernelCase): KernelCase => ({
  ...each,
  name: `${each.name}, of all sizes`,
  tensors: Object.fromEntries(
    Object.entries(each.tensors).map(([name, spec], index) => {
      const draw = (i: number, of: number): number => fraction(randomWord(of, index, i, 0));
      const fill = (i: number): number => {
        const value = spec.fill?.(i) ?? 2 * draw(i, 1) - 1;
        const smaller = value * 2 ** -Math.floor(24 * draw(i, 2));
        // Adapters may take what is below the normal numbers for zero, and SwiftShader does.
        return Math.abs(smaller) < 2 ** -126 ? value : smaller;
      };
      return [name, spec.dtype === "u32" ? spec : { ...spec, fill }];
    }),
  ),
});
