import { expect, it } from "vitest";
import { recordMatmul, type Matrix } from "../../src/kernels/matmul.ts";
import { makeTensor, Recorder } from "../../src/runtime/recorder.ts";

it("records a product that is too long for one dispatch as row blocks that cover C once", () => {
  for (const op of ["nn", "tn"] as const) {
    const recorder = new Recorder({ family: "gpu", subgroupSize: 0 });
    const [M, N, K] = [5000, 4096, 4096];
    const [aRows, aColumns] = op === "nn" ? [M, K] : [K, M];
    const matrix = (name: string, rows: number, columns: number) => ({
      tensor: makeTensor({ name, shape: [rows, columns] }),
      rows,
      columns,
    });
    recordMatmul(recorder, op, matrix("a", aRows!, aColumns!), matrix("b", K, N), matrix("c", M, N));
    let rows = 0;
    for (const command of recorder.commands) {
      if (command.kind !== "dispatch") throw new Error("only dispatches expected");
      const { params, work } = command;
      expect(work).toBeLessThanOrEqual(4e9);
      expect(params.cOffset).toBe(rows * N);
      expect(params.aOffset).toBe(op === "nn" ? rows * K : rows);
      rows += params.M!;
    }
    expect(recorder.commands.length).toBeGreaterThan(10);
    expect(rows).toBe(M);
  }
});

it("refuses a view that leaves its rows or its tensor, such as a third gate of a cell that has two", () => {
  // [T·B, G, H] with T·B = 3, G = 2, H = 8.
  const dGates = makeTensor({ name: "dGates", shape: [3, 2, 8] });
  const b: Matrix = { tensor: makeTensor({ name: "b", shape: [3, 8] }), rows: 3, columns: 8 };
  const c: Matrix = { tensor: makeTensor({ name: "c", shape: [8, 8] }), rows: 8, columns: 8 };
  const record = (gate: number, rows: number, more: Partial<Matrix> = {}) => {
    const a = { tensor: dGates, rows, columns: 8, firstColumn: 8 * gate, stride: 16, ...more };
    recordMatmul(new Recorder({ family: "gpu", subgroupSize: 0 }), "tn", a, { ...b, rows }, c);
  };
  expect(() => record(1, 3)).not.toThrow();
  expect(() => record(2, 3)).toThrow("dGates's rows are left at 24 of 16");
  expect(() => record(1, 3, { firstRow: 1 })).toThrow("dGates is left at 64 of 48");
  expect(() =>
    recordMatmul(new Recorder({ family: "gpu", subgroupSize: 0 }), "nn", b, c, { ...b, rows: 3, firstRow: 1 }),
  ).toThrow("b is left at 32 of 24");
});
