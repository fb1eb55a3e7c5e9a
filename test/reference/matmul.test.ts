import { expect, it } from "vitest";
import { recordMatmul } from "../../src/kernels/matmul.ts";
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
