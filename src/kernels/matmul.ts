// matmul: C[M,N] = op(A) · op(B) (+ bias[N]) (+ C). A is [M,K], or [K,M] if transposed; B is [K,N], or [N,K].
import source from "../../shaders/matmul.wgsl?raw";
import { defineKernel, divideUp, entry, type Constants, type KernelCase, type Variant } from "../runtime/kernel.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type NumberArray, type Tensor } from "../runtime/tensor.ts";

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
  useBias: "u32",
  accumulate: "u32",
} as const;
const BINDINGS = { a: "read", b: "read", bias: "read", c: "read_write" } as const;

type MatmulParams = { readonly [K in keyof typeof PARAMS]: number };
type MatmulArrays = { readonly [K in keyof typeof BINDINGS]: NumberArray };

function reference(transposeA: boolean, transposeB: boolean) {
  return ({ a, b, bias, c }: MatmulArrays, p: MatmulParams): void => {
    const aRow = transposeA ? 1 : p.lda;
    const aColumn = transposeA ? p.lda : 1;
    const bRow = transposeB ? 1 : p.ldb;
    const bColumn = transposeB ? p.ldb : 1;
    for (let m = 0; m < p.M; m++) {
      for (let n = 0; n < p.N; n++) {
        let sum = p.useBias ? bias[n]! : 0;
        for (let k = 0; k < p.K; k++) {
          sum += a[p.aOffset + m * aRow + k * aColumn]! * b[p.bOffset + k * bRow + n * bColumn]!;
        }
        const at = p.cOffset + m * p.ldc + n;
        c[at] = p.accumulate ? c[at]! + sum : sum;
      }
    }
  };
}

/** Columns (in vec4f) that a workgroup of the register-tile variants covers. */
const REGISTER_COLUMNS = 8;

function form(transposeA: boolean, transposeB: boolean) {
  const constants = { TRANSPOSE_A: Number(transposeA), TRANSPOSE_B: Number(transposeB) };
  const variants: Variant[] = [
    { name: "register-tile", entryPoint: "registerTile", constants: { ...constants, WORKGROUP: REGISTER_COLUMNS } },
    { name: "workgroup-tile", entryPoint: "tiled", constants, preferred: (_, family) => family === "gpu" },
  ];
  return entry({
    params: PARAMS,
    bindings: BINDINGS,
    variants,
    workgroups: (p, constants: Constants) =>
      constants.WORKGROUP
        ? [divideUp(divideUp(p.N, 4), constants.WORKGROUP), divideUp(p.M, 8)]
        : [divideUp(p.N, 64), divideUp(p.M, 64)],
    work: (p) => 2 * p.M * p.N * p.K,
    reference: reference(transposeA, transposeB),
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
  return sizes.flatMap(([M, N, K]) => [
    matmulCase(transposeA, transposeB, M, N, K, { useBias: 0, accumulate: 0, rows: 0 }),
    matmulCase(transposeA, transposeB, M, N, K, { useBias: 1, accumulate: 1, rows: 3 }),
  ]);
}

function matmulCase(
  transposeA: boolean,
  transposeB: boolean,
  M: number,
  N: number,
  K: number,
  options: { useBias: number; accumulate: number; rows: number },
): KernelCase {
  const { useBias, accumulate, rows } = options;
  const [aRows, aColumns] = transposeA ? [K, M] : [M, K];
  const [bRows, bColumns] = transposeB ? [N, K] : [K, N];
  const [lda, ldb, ldc] = [pad4(aColumns), pad4(bColumns), pad4(N)];
  return {
    name: `${M}×${K} · ${K}×${N}${useBias ? " + bias + C, at an offset" : ""}`,
    params: { M, N, K, lda, ldb, ldc, aOffset: rows * lda, bOffset: rows * ldb, cOffset: rows * ldc, useBias, accumulate },
    tensors: {
      a: { shape: [rows + aRows, aColumns] },
      b: { shape: [rows + bRows, bColumns] },
      bias: { shape: [N] },
      c: { shape: [rows + M, N] },
    },
  };
}

/** Entry points by op(A), op(B): n as it lies, t transposed. */
export const matmul = defineKernel("matmul", source, {
  nn: form(false, false),
  nt: form(false, true),
  tn: form(true, false),
  tt: form(true, true),
});

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

/** Records C = op(A) · op(B) (+ bias) (+ C); the sizes follow from C and A. */
export function recordMatmul(
  recorder: Recorder,
  op: keyof typeof matmul,
  a: Matrix,
  b: Matrix,
  c: Matrix,
  options: { bias?: Tensor; accumulate?: boolean } = {},
): void {
  const K = op[0] === "n" ? a.columns : a.rows;
  if ((op[1] === "n" ? b.rows : b.columns) !== K) {
    throw new Error(`matmul ${op}: K is ${K} in ${a.tensor.name}, not in ${b.tensor.name} [${b.rows}, ${b.columns}]`);
  }
  const most = Math.max(1, Math.floor(MAX_DISPATCH_WORK / (2 * c.columns * K * PIECE_ROWS))) * PIECE_ROWS;
  for (let row = 0; row < c.rows; row += most) {
    const M = Math.min(most, c.rows - row);
    recorder.dispatch(
      matmul[op],
      { a: a.tensor, b: b.tensor, bias: options.bias ?? b.tensor, c: c.tensor },
      {
        M,
        N: c.columns,
        K,
        lda: stride(a),
        ldb: stride(b),
        ldc: stride(c),
        aOffset: op[0] === "n" ? offset(a, row, 0) : offset(a, 0, row),
        bOffset: offset(b, 0, 0),
        cOffset: offset(c, row, 0),
        useBias: options.bias ? 1 : 0,
        accumulate: options.accumulate ? 1 : 0,
      },
    );
  }
}

const stride = (m: Matrix): number => m.stride ?? pad4(m.columns);
const offset = (m: Matrix, row: number, column: number): number =>
  ((m.firstRow ?? 0) + row) * stride(m) + (m.firstColumn ?? 0) + column;
