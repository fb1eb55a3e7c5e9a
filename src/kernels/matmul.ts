// matmul: C[M,N] = op(A) · op(B) (+ bias[N]) (+ C). A is [M,K], or [K,M] if transposed; B is [K,N], or [N,K].
import source from "../../shaders/matmul.wgsl?raw";
import registersSource from "../../shaders/registers.wgsl?raw";
import subgroupSource from "../../shaders/registers-subgroup.wgsl?raw";
import { defineKernel, divideUp, entry, type Constants, type KernelCase, type Variant } from "../runtime/kernel.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type NumberArray, type Tensor } from "../runtime/tensor.ts";
import { reduce } from "./reduce.ts";

const PARAMS = {
  M: "u32",
  N: "u32",
  K: "u32",
  lda: "u32",
  ldb: "u32",
  ldc: "u32",
  aOffset: "u32",
  bOffset: "u32",
  cOffset: "u32",
  kSlice: "u32",
  useBias: "u32",
  accumulate: "u32",
} as const;
type MatmulParams = { readonly [K in keyof typeof PARAMS]: number };

/** Where A lies as it is: a bias [N] is added. */
const PLAIN = { a: "read", b: "read", bias: "read", c: "read_write" } as const;
/** Where A is transposed: rowSums[M] = Σ_k op(A)[m, k] comes along, which is a bias's gradient where C is its weight's. */
const WITH_SUMS = { a: "read", b: "read", rowSums: "read_write", c: "read_write" } as const;

type Bindings = typeof PLAIN | typeof WITH_SUMS;
type Arrays = { readonly [K in keyof typeof PLAIN | keyof typeof WITH_SUMS]: NumberArray };

function reference(transposeA: boolean, transposeB: boolean) {
  return ({ a, b, bias, rowSums, c }: Arrays, p: MatmulParams): void => {
    const aRow = transposeA ? 1 : p.lda;
    const aColumn = transposeA ? p.lda : 1;
    const bRow = transposeB ? 1 : p.ldb;
    const bColumn = transposeB ? p.ldb : 1;
    const slices = sliceCount(p);
    for (let m = 0; m < p.M; m++) {
      for (let n = 0; n < p.N; n++) {
        for (let slice = 0; slice < slices; slice++) {
          let sum = !transposeA && p.useBias ? bias[n]! : 0;
          const end = Math.min((slice + 1) * p.kSlice, p.K);
          for (let k = slice * p.kSlice; k < end; k++) {
            sum += a[p.aOffset + m * aRow + k * aColumn]! * b[p.bOffset + k * bRow + n * bColumn]!;
          }
          const at = p.cOffset + (slice * p.M + m) * p.ldc + n;
          c[at] = p.accumulate ? c[at]! + sum : sum;
        }
      }
      if (!transposeA || !p.useBias) continue;
      let sum = 0;
      for (let k = 0; k < p.K; k++) sum += a[p.aOffset + m + k * p.lda]!;
      rowSums[m] = sum;
    }
  };
}

/** Work that is enough to time a product. */
const TRIAL_WORK = 3e7;

/** A block of the product: fewer rows, or fewer products in each sum. */
function smaller(p: MatmulParams): MatmulParams {
  let { M, K } = p;
  while (2 * M * p.N * K > TRIAL_WORK && Math.max(M, K) > 256) {
    if (M > K) M = pad4(Math.ceil(M / 2));
    else K = pad4(Math.ceil(K / 2));
  }
  return p.kSlice < p.K ? { ...p, M } : { ...p, M, K, kSlice: K };
}

const sliceCount = ({ K, kSlice }: MatmulParams): number => divideUp(K, kSlice);

/** Register tiles of `rows` rows × `columns` vec4f, straight from storage, for adapters on which barriers are dear. */
const registerTile = (rows: number, columns: number, lanes: number): Variant => ({
  name: `${rows}×${4 * columns} registers, ${lanes} lanes`,
  entryPoint: "registerTile",
  constants: { ROWS: rows, COLUMNS: columns, WORKGROUP: lanes },
});

/** The same, where the lanes of a subgroup hand each other their rows of A: 8 or 16 rows × one vec4f. */
const subgroupTile = (rows: number, subgroupSize: number): Variant => ({
  ...registerTile(rows, 1, 8),
  name: `${rows}×4 registers, subgroups of ${subgroupSize}`,
  family: "software",
  subgroupSize,
  constants: { ROWS: rows, COLUMNS: 1, WORKGROUP: 8, SUBGROUP: subgroupSize },
  preferred: ({ M }) => M! > (rows > 8 ? 8 : 4),
});

/** Tiles of `m` × `n` in workgroup memory, `rows` × 4 registers an invocation, blocks of `block` along K. */
const workgroupTile = (m: number, n: number, rows: number, block: number, buffers: number): Variant => ({
  name: `${m}×${n}×${block} tile, ${rows}×4 registers${buffers > 1 ? ", double-buffered" : ""}`,
  family: "gpu",
  entryPoint: "tiled",
  constants: { TILE_M: m, TILE_N: n, LANE_ROWS: rows, BLOCK: block, BUFFERS: buffers },
});

/** The first that fits the family is what an adapter gets that is not tuned. */
const VARIANTS: readonly Variant[] = [
  { ...workgroupTile(64, 64, 4, 16, 1), preferred: ({ M, N }) => M! * N! > 128 * 128 },
  { ...workgroupTile(32, 32, 4, 32, 1), preferred: () => true },
  workgroupTile(64, 64, 8, 8, 2),
  workgroupTile(64, 32, 8, 16, 2),
  subgroupTile(16, 8),
  subgroupTile(8, 8),
  subgroupTile(16, 4),
  subgroupTile(8, 4),
  { ...registerTile(8, 2, 8), preferred: ({ M, N }) => M! >= 64 && N! >= 64 },
  registerTile(8, 1, 8),
  registerTile(4, 1, 8),
  { ...registerTile(1, 2, 8), supports: ({ M }) => M === 1, preferred: (_, family) => family === "software" },
  { ...registerTile(4, 2, 8), preferred: ({ M }, family) => family === "software" && M! <= 4 },
];

function form<B extends Bindings>(transposeA: boolean, transposeB: boolean, bindings: B) {
  const transposed = { TRANSPOSE_A: Number(transposeA), TRANSPOSE_B: Number(transposeB) };
  const withSums = (name: string): string => (name === "tiled" ? "tiledWithSums" : `${name}Sums`);
  return entry({
    params: PARAMS,
    bindings,
    variants: VARIANTS.map((v) => ({
      ...v,
      entryPoint: transposeA ? withSums(v.entryPoint!) : v.entryPoint!,
      constants: { ...v.constants, ...transposed },
    })),
    workgroups: (p, { TILE_M, TILE_N, ROWS, COLUMNS, WORKGROUP }: Constants) =>
      TILE_M
        ? [divideUp(p.N, TILE_N!), divideUp(p.M, TILE_M), sliceCount(p)]
        : [divideUp(pad4(p.N) / 4, WORKGROUP! * COLUMNS!), divideUp(p.M, ROWS!), sliceCount(p)],
    tuneBy: (p) => [p.M, p.N, p.kSlice, sliceCount(p)],
    tuneWith: smaller,
    work: (p) => 2 * p.M * p.N * p.K,
    reference: reference(transposeA, transposeB) as (arrays: Record<keyof B, NumberArray>, p: MatmulParams) => void,
    cases: () => cases(transposeA, transposeB),
  });
}

function cases(transposeA: boolean, transposeB: boolean): KernelCase[] {
  const sizes = [
    [1, 1, 1],
    [3, 65, 1],
    [65, 3, 65],
    [1, 73, 128],
    [70, 65, 67],
    [8, 4, 130],
  ] as const;
  return [
    ...sizes.flatMap(([M, N, K]) => [
      matmulCase(transposeA, transposeB, M, N, K, { useBias: 0, accumulate: 0, rows: 0, kSlice: K }),
      matmulCase(transposeA, transposeB, M, N, K, { useBias: 1, accumulate: 1, rows: 3, kSlice: K }),
    ]),
    matmulCase(transposeA, transposeB, 5, 9, 70, { useBias: Number(transposeA), accumulate: 0, rows: 0, kSlice: 24 }),
  ];
}

function matmulCase(
  transposeA: boolean,
  transposeB: boolean,
  M: number,
  N: number,
  K: number,
  options: { useBias: number; accumulate: number; rows: number; kSlice: number },
): KernelCase {
  const { useBias, accumulate, rows, kSlice } = options;
  const [aRows, aColumns] = transposeA ? [K, M] : [M, K];
  const [bRows, bColumns] = transposeB ? [N, K] : [K, N];
  const [lda, ldb, ldc] = [pad4(aColumns), pad4(bColumns), pad4(N)];
  const slices = divideUp(K, kSlice);
  const extras = `${useBias ? (transposeA ? " + row sums" : " + bias") : ""}${accumulate ? " + C, at an offset" : ""}`;
  return {
    name: `${M}×${K} · ${K}×${N}${extras}${slices > 1 ? `, ${slices} slices` : ""}`,
    params: {
      M,
      N,
      K,
      lda,
      ldb,
      ldc,
      aOffset: rows * lda,
      bOffset: rows * ldb,
      cOffset: rows * ldc,
      kSlice,
      useBias,
      accumulate,
    },
    tensors: {
      a: { shape: [rows + aRows, aColumns] },
      b: { shape: [rows + bRows, bColumns] },
      ...(transposeA ? { rowSums: { shape: [M] } } : { bias: { shape: [N] } }),
      c: { shape: [rows + slices * M, N] },
    },
  };
}

/** Entry points by op(A), op(B): n as it lies, t transposed. */
export const matmul = defineKernel(
  "matmul",
  source,
  {
    nn: form(false, false, PLAIN),
    nt: form(false, true, PLAIN),
    tn: form(true, false, WITH_SUMS),
    tt: form(true, true, WITH_SUMS),
  },
  [{ name: "registers", source: registersSource, withSubgroups: { name: "registers-subgroup", source: subgroupSource } }],
);

/** A matrix inside a tensor: `rows` × `columns` from row `firstRow`, rows as long as the tensor's stored rows. */
export interface Matrix {
  readonly tensor: Tensor;
  readonly rows: number;
  readonly columns: number;
  readonly firstRow?: number;
  /** A multiple of four. */
  readonly firstColumn?: number;
  /** Stored length of a row; by default `columns` padded to a multiple of four. */
  readonly stride?: number;
}

/**
 * Floating-point operations that one dispatch may hold: a quarter of a second on the slowest real GPUs, whose
 * watchdogs end a dispatch that runs for one or two. Larger products are recorded in pieces, row blocks of C.
 */
const MAX_DISPATCH_WORK = 4e9;
/** Rows of a piece are a multiple of this, so that no tile is cut. */
const PIECE_ROWS = 64;

/** Products from this K on may be cut into SLICES along K, where C is too small to keep a GPU busy. */
const LONG_K = 1024;
const SLICES = 8;
const SMALL_C = 512 * 512;

/**
 * Records C = op(A) · op(B) (+ bias) (+ C); the sizes follow from C and A. With A transposed there may be `rowSums`
 * [M] instead of a bias: the sums over op(A)'s rows.
 */
export function recordMatmul(
  recorder: Recorder,
  op: keyof typeof matmul,
  a: Matrix,
  b: Matrix,
  c: Matrix,
  options: { bias?: Tensor | undefined; rowSums?: Tensor | undefined; accumulate?: boolean } = {},
): void {
  const K = op[0] === "n" ? a.columns : a.rows;
  if ((op[1] === "n" ? b.rows : b.columns) !== K) {
    throw new Error(`matmul ${op}: K is ${K} in ${a.tensor.name}, not in ${b.tensor.name} [${b.rows}, ${b.columns}]`);
  }
  for (const m of [a, b, c]) checkView(m);
  const whole = (r: Recorder): void => recordPieces(r, op, a, b, c, K, K, options);
  // The slices' sums lie one after another, so that C must be a whole tensor.
  const isWhole = !c.firstRow && !c.firstColumn && stride(c) === pad4(c.columns) && c.rows * stride(c) <= c.tensor.length;
  if (K < LONG_K || c.rows * c.columns > SMALL_C || !isWhole || options.bias || options.accumulate) return whole(recorder);
  const sliced = (r: Recorder): void => {
    const kSlice = pad4(divideUp(K, SLICES));
    const count = divideUp(K, kSlice);
    const sums = r.tensor({ name: `${c.tensor.name} slices`, shape: [count, c.rows, c.columns] });
    const target = { tensor: sums, rows: c.rows, columns: c.columns };
    recordPieces(r, op, a, b, target, K, kSlice, options);
    const W = c.rows * stride(c);
    r.dispatch(reduce.columns, { values: sums, out: c.tensor }, { N: count, W, accumulate: 0, inOffset: 0 });
  };
  // The few cores behind others are busy anyway.
  if (recorder.family !== "gpu") return whole(recorder);
  const candidates = { whole: { record: whole }, sliced: { record: sliced } };
  recorder.choose(`matmul.${op} in slices`, [c.rows, c.columns, K], candidates, () =>
    c.rows * c.columns < SMALL_C / 4 ? "sliced" : "whole",
  );
}

function recordPieces(
  recorder: Recorder,
  op: keyof typeof matmul,
  a: Matrix,
  b: Matrix,
  c: Matrix,
  K: number,
  kSlice: number,
  { bias, rowSums, accumulate }: { bias?: Tensor | undefined; rowSums?: Tensor | undefined; accumulate?: boolean },
): void {
  const transposed = op[0] === "t";
  // Slices lie one after another only if their rows are not cut.
  const most = kSlice < K ? c.rows : Math.max(1, Math.floor(MAX_DISPATCH_WORK / (2 * c.columns * K * PIECE_ROWS))) * PIECE_ROWS;
  for (let row = 0; row < c.rows; row += most) {
    const M = Math.min(most, c.rows - row);
    const params = {
      M,
      N: c.columns,
      K,
      lda: stride(a),
      ldb: stride(b),
      ldc: stride(c),
      aOffset: transposed ? offset(a, 0, row) : offset(a, row, 0),
      bOffset: offset(b, 0, 0),
      cOffset: offset(c, row, 0),
      kSlice,
      useBias: Number((transposed ? rowSums : bias) !== undefined),
      accumulate: Number(accumulate ?? false),
    };
    const tensors = { a: a.tensor, b: b.tensor, c: c.tensor };
    if (op === "nn" || op === "nt") recorder.dispatch(matmul[op], { ...tensors, bias: bias ?? b.tensor }, params);
    else recorder.dispatch(matmul[op], { ...tensors, rowSums: rowSums ? rowsFrom(rowSums, row) : recorder.unused() }, params);
  }
}

/** A vector from element `row`, a multiple of PIECE_ROWS, which bindings can begin at. */
const rowsFrom = (vector: Tensor, row: number): Tensor =>
  row === 0 ? vector : { ...vector, offset: vector.offset + row, length: vector.length - row };

/** A view that leaves its rows or its tensor would read another's numbers: the caller has its sizes wrong. */
function checkView(m: Matrix): void {
  const [right, end] = [(m.firstColumn ?? 0) + m.columns, ((m.firstRow ?? 0) + m.rows) * stride(m)];
  if (right > stride(m)) throw new Error(`matmul: ${m.tensor.name}'s rows are left at ${right} of ${stride(m)}`);
  if (end > m.tensor.length) throw new Error(`matmul: ${m.tensor.name} is left at ${end} of ${m.tensor.length}`);
}

const stride = (m: Matrix): number => m.stride ?? pad4(m.columns);
const offset = (m: Matrix, row: number, column: number): number =>
  ((m.firstRow ?? 0) + row) * stride(m) + (m.firstColumn ?? 0) + column;
