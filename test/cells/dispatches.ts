// What a layer of a cell records, for tests of how many dispatches that takes.
import type { Cell } from "../../src/kernels/cell.ts";
import { Recorder, type DispatchCommand } from "../../src/runtime/recorder.ts";

/** The dispatches of T steps of one row, H wide, forward and backward. */
export function dispatchesOf(cell: Cell, T: number, H: number): readonly DispatchCommand[] {
  const recorder = new Recorder({ family: "software", subgroupSize: 0 });
  const config = { hiddenSize: H };
  const weights = Object.fromEntries(cell.parameters(config, [H]).map((spec) => [spec.name, recorder.tensor(spec.tensor)]));
  const x = { tensor: recorder.tensor({ name: "x", shape: [T, 1, H] }), rows: T, columns: H };
  const layer = cell.record(recorder, { name: "l0", T, B: 1, config, weights, input: { parts: [x] } });
  const dOutput = recorder.tensor({ name: "dOutput", shape: [T, 1, H] });
  const backward = layer.backward(recorder, { dOutput, weights, inputs: [x] });
  for (const [pass, t] of [
    [layer.forward, 0],
    [backward, T - 1],
  ] as const) {
    pass.begin();
    pass.steps(t, T);
    pass.end();
  }
  return recorder.commands.flatMap((command) => (command.kind === "dispatch" ? [command] : []));
}
