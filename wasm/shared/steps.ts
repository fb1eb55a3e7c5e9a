// Steps of the cells that multiply their state by W_hh: the products, for one thread's rows of the batch and all steps, and
// around them what a cell makes of its sums, four units of a row at a time. Rows do not depend on each other, so a thread
// takes its rows through all steps.
import { addRow, COLUMNS, packColumns, packRows, ROWS, tile, TILE_ROW, VECTORS } from "./product";
import { lanesOf, pad4, share } from "./simd";

/** Bytes of a tile. */
const TILE = TILE_ROW * ROWS;
/** The most gates that a cell has. */
const GATES = 4;

/**
 * What a cell does at one step with four units of a row. `sums`: their sums, those of the next gate TILE bytes on; `cell`: number of
 * the row among [T, B]; `row`: among B; `u`: the first unit; `lanes`: which of the four there are.
 */
export type Epilogue = (sums: usize, cell: i32, row: i32, u: i32, lanes: v128) => void;

/** Of the steps that are under way: units of a stored row, and rows of the batch. */
export let W: i32;
export let rowsOfBatch: i32;

/** Sums of gate `gate`. */
@inline
export function sumOf(sums: usize, gate: i32): v128 {
  return v128.load(sums + TILE * gate);
}

/** Stores four units, zeros where there are none: padding stays zero, also where something is not finite. */
@inline
export function put(to: usize, units: v128, lanes: v128): void {
  v128.store(to, v128.and(units, lanes));
}

/** Where gate 0 of unit u lies in row `row` of [row, G, H], and unit u in row `row` of [row, H]. */
@inline
export function gatesAt(tensor: usize, row: i32, G: i32, u: i32): usize {
  return tensor + 4 * (<usize>W * G * row + u);
}
@inline
export function unitAt(tensor: usize, row: i32, u: i32): usize {
  return gatesAt(tensor, row, 1, u);
}

/** The same of x·W_ihᵀ + b_ih: the row of the step, or of its token, where there are `tokens`. */
@inline
export function inputAt(xProjection: usize, tokens: usize, cell: i32, G: i32, u: i32): usize {
  return gatesAt(xProjection, tokens ? load<i32>(tokens + 4 * cell) : cell, G, u);
}

/** Of W units, panels as wide as a tile. */
@inline
function panels(units: i32): i32 {
  return (units + COLUMNS - 1) / COLUMNS;
}

/** Bytes of scratch for products of `K` numbers with H units of each of G gates, and all rows. */
export function stepsScratch(B: i32, H: i32, K: i32, G: i32): i32 {
  const rows = (B + ROWS - 1) & ~(ROWS - 1);
  return 4 * K * (G * panels(H) * COLUMNS + rows) + TILE * (GATES + 1);
}

/**
 * For each step: sums = init + A·B of a thread's rows, and what the epilogue makes of them. Gate g of unit u is column
 * g·W + u of B, whose K rows are `bStride` bytes apart; A's rows of step s begin at a + s·aStep. Without `a0`, the first step
 * has nothing but `init`, whose numbers lie as a row of B; zeros, if there is none.
 */
export function steps(
  a: usize,
  aStride: usize,
  aStep: isize,
  first: bool,
  b: usize,
  bStride: usize,
  K: i32,
  G: i32,
  init: usize,
  B: i32,
  H: i32,
  t: i32,
  tStep: i32,
  count: i32,
  scratch: usize,
  part: i32,
  parts: i32,
  epilogue: Epilogue,
): void {
  if (count == 1 && B < ROWS) return fewRows(a, aStride, first ? K : 0, b, bStride, G, init, B, H, t, scratch, part, parts, epilogue);
  const row0 = share(B, ROWS, part, parts);
  const rows = share(B, ROWS, part + 1, parts) - row0;
  if (rows <= 0) return;
  W = pad4(H);
  rowsOfBatch = B;
  const ofPanel: usize = TILE_ROW * K;
  const packedA = scratch + ofPanel * G * panels(W);
  const sums = packedA + 4 * K * ((rows + ROWS - 1) & ~(ROWS - 1));
  const zeros = sums + TILE * GATES;
  memory.fill(zeros, 0, 4 * COLUMNS);
  let to = scratch;
  for (let u = 0; u < W; u += COLUMNS) {
    for (let g = 0; g < G; g++) {
      packColumns(b + 4 * (g * W + u), bStride, min(VECTORS, (W - u) >> 2), K, to, TILE_ROW);
      to += ofPanel;
    }
  }
  for (let s = 0; s < count; s++) {
    const k = s > 0 || first ? K : 0;
    if (k > 0) {
      for (let m = 0; m < rows; m += ROWS) {
        packRows(a + aStride * (row0 + m), aStride, min(ROWS, rows - m), K, packedA + 4 * K * m, 16);
      }
    }
    let panel = scratch;
    for (let u = 0; u < W; u += COLUMNS) {
      const units = min(COLUMNS, W - u);
      for (let m = 0; m < rows; m += ROWS) {
        for (let g = 0; g < G; g++) {
          const begin = init ? init + 4 * (g * W + u) : zeros;
          tile(packedA + 4 * K * m, panel + ofPanel * g, TILE_ROW, k, begin, 0, sums + TILE * g, TILE_ROW);
        }
        for (let r = 0; r < min(ROWS, rows - m); r++) {
          const row = row0 + m + r;
          const at = sums + TILE_ROW * r;
          for (let v = 0; v < units; v += 4) epilogue(at + 4 * v, t * B + row, row, u + v, lanesOf(u + v, H));
        }
      }
      panel += ofPanel * G;
    }
    a += aStep;
    t += tStep;
  }
}

/** One step of less rows than a tile has: panels would cost more than they save. Shares are of units. */
// prettier-ignore
function fewRows(
  a: usize, aStride: usize, K: i32, b: usize, bStride: usize, G: i32, init: usize,
  B: i32, H: i32, t: i32, scratch: usize, part: i32, parts: i32, epilogue: Epilogue,
): void {
  W = pad4(H);
  rowsOfBatch = B;
  const begin = share(W, COLUMNS, part, parts);
  const end = share(W, COLUMNS, part + 1, parts);
  if (end <= begin) return;
  const bytes: usize = 4 * (end - begin);
  const ofGates = scratch + TILE * GATES;
  for (let row = 0; row < B; row++) {
    for (let g = 0; g < G; g++) {
      const from: usize = 4 * (g * W + begin);
      const out = ofGates + bytes * g;
      if (init) memory.copy(out, init + from, bytes);
      else memory.fill(out, 0, bytes);
      addRow(a + aStride * row, b + from, bStride, K, out, bytes);
    }
    for (let u = begin; u < end; u += 4) {
      for (let g = 0; g < G; g++) v128.store(scratch + TILE * g, v128.load(ofGates + bytes * g + 4 * (u - begin)));
      epilogue(scratch, t * B + row, row, u, lanesOf(u, H));
    }
  }
}

/** The steps of a cell that multiplies its state by nothing: an epilogue without sums for all units of all rows, whose shares are of units. */
export function scan(B: i32, H: i32, t: i32, tStep: i32, count: i32, part: i32, parts: i32, epilogue: Epilogue): void {
  W = pad4(H);
  rowsOfBatch = B;
  const begin = 4 * share((B * W) >> 2, 1, part, parts);
  const end = 4 * share((B * W) >> 2, 1, part + 1, parts);
  for (let s = 0; s < count; s++) {
    let row = begin / W;
    let u = begin % W;
    for (let at = begin; at < end; at += 4) {
      epilogue(0, t * B + row, row, u, lanesOf(u, H));
      u += 4;
      if (u < W) continue;
      u = 0;
      row++;
    }
    t += tStep;
  }
}
