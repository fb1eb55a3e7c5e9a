// Sizes for a layer of any cell.
import { cellOf, type CellForm } from "../../src/models/cells.ts";

interface Sizes {
  readonly inputSize: number;
  readonly hiddenSize: number;
  readonly numLayers?: number;
  readonly bidirectional?: boolean;
}

/** The sizes, or what comes next to them where a cell takes only inputs as wide as its outputs, of one direction. */
export function sizesFor<S extends Sizes>(form: CellForm, sizes: S): S {
  try {
    cellOf(form).parameters({ ...form, ...sizes }, [sizes.inputSize]);
    return sizes;
  } catch {
    return { ...sizes, inputSize: sizes.hiddenSize, ...(sizes.bidirectional && { numLayers: 1 }) };
  }
}
