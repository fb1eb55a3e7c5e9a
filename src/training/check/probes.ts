// What drivers are known to get wrong.
import { lstm } from "../../kernels/lstm.ts";
import { matmul } from "../../kernels/matmul.ts";
import { METRIC, PARTIAL_COUNT, PARTIAL_SHAPE, reduce } from "../../kernels/reduce.ts";
import { rnn } from "../../kernels/rnn.ts";
import type { Device } from "../../runtime/device.ts";
import type { Entry } from "../../runtime/kernel.ts";
import type { Recorder } from "../../runtime/recorder.ts";
import { pad4, type Tensor } from "../../runtime/tensor.ts";
import { differences } from "../../runtime/verify.ts";
import type { CheckResult } from "./comparisons.ts";

const PROBE_TOLERANCE = 1e-6;

/** A product in every variant, those with tiles in workgroup memory and barriers among them. */
export async function workgroupMemoryProbe(device: Device, signal: AbortSignal | undefined): Promise<CheckResult> {
  const cases = matmul.nn.cases().slice(-4, -3);
  const [worst] = await differences(device, matmul.nn as unknown as Entry, cases, undefined, false, signal);
  const error = worst ? Infinity : 0;
  const detail = worst ? { detail: worst } : {};
  return { part: "probe", name: "workgroup memory and barriers", passed: !worst, error, tolerance: 1e-5, ...detail };
}

const SATURATED = [0, 0.5, -0.5, 9, -9, 45, -45, 89, -89, 1e4, -1e4];

/** What drivers are known to get wrong: tanh and exp of large numbers, and noticing what is not finite. */
export async function probes(device: Device, signal: AbortSignal | undefined): Promise<readonly CheckResult[]> {
  const probe = (name: string, error: number): CheckResult => ({
    part: "probe",
    name,
    passed: error <= PROBE_TOLERANCE,
    error: Number.isNaN(error) ? Infinity : error,
    tolerance: PROBE_TOLERANCE,
  });
  const worst = (actual: ArrayLike<number>, expected: readonly number[]): number =>
    expected.reduce((most, value, i) => (Math.abs(actual[i]! - value) <= most ? most : Math.abs(actual[i]! - value)), 0);
  const H = SATURATED.length;
  const record = (recorder: Recorder) => {
    const wide = (name: string, shape: readonly number[]): Tensor =>
      recorder.tensor({ name, shape, stored: [...shape.slice(0, -1), pad4(shape.at(-1)!)] });
    const rows = recorder.tensor({ name: "rows", shape: [1, 1], dtype: "u32" });
    const params = { B: 1, H, t: 0, count: 1, gather: 0, last: 1, relu: 0 };
    const xRnn = wide("x", [1, 1, H]);
    const xLstm = wide("x", [1, 4, H]);
    const h = wide("h", [2, 1, H]);
    const gates = wide("gates", [1, 1, 4, H]);
    const values = recorder.tensor({ name: "values", shape: [64] });
    const metrics = recorder.tensor({ name: "metrics", shape: [METRIC.count] });
    const partials = recorder.tensor({ name: "partials", ...PARTIAL_SHAPE });
    recorder.dispatch(rnn.forward, { xProjection: xRnn, rows, packed: wide("packed", [pad4(H) + 1, 1, H]), h }, params);
    const lstmTensors = { h: wide("h", [2, 1, H]), c: wide("c", [2, 1, H]), gates };
    recorder.dispatch(
      lstm.forward,
      { xProjection: xLstm, rows, packed: wide("packed", [pad4(H) + 1, 4, H]), ...lstmTensors },
      params,
    );
    recorder.dispatch(reduce.squares, { values, partials }, { count: 16 });
    const losses = recorder.tensor({ name: "losses", shape: [1, 2], stored: [1, 2] });
    recorder.dispatch(
      reduce.norm,
      { values: partials, rows: losses, metrics },
      { count: PARTIAL_COUNT, squares: 0, clip: 1, N: 1, scale: 1 },
    );
    return { h, gates, xRnn, xLstm, values, metrics };
  };
  const plan = await device.record("probes", record, { signal });
  const { h, gates, xRnn, xLstm, values, metrics } = plan.made;
  const results: CheckResult[] = [];
  try {
    device.write(xRnn, Float32Array.from(SATURATED));
    device.write(xLstm, Float32Array.from([...SATURATED, ...SATURATED, ...SATURATED, ...SATURATED]));
    await plan.run([], signal);
    results.push(probe("tanh of up to ±1e4", worst((await device.read(h)).subarray(H), SATURATED.map(Math.tanh))));
    results.push(
      probe(
        "sigmoid of up to ±1e4",
        worst(
          await device.read(gates),
          SATURATED.map((x) => 1 / (1 + Math.exp(-x))),
        ),
      ),
    );
    for (const [name, bad] of [
      ["NaN", NaN],
      ["infinity", Infinity],
    ] as const) {
      device.write(metrics, new Float32Array(METRIC.count));
      device.write(
        values,
        Float32Array.from({ length: 64 }, (_, i) => (i === 37 ? bad : 0.5)),
      );
      await plan.run([], signal);
      const noticed = await device.read(metrics);
      results.push(
        probe(`${name} in a gradient is noticed`, noticed[METRIC.skipped] === 1 && noticed[METRIC.factor] === 0 ? 0 : Infinity),
      );
    }
    device.write(metrics, new Float32Array(METRIC.count));
    device.write(values, new Float32Array(64).fill(0.5));
    await plan.run([], signal);
    const finite = await device.read(metrics);
    results.push(
      probe("a finite gradient is not mistaken", finite[METRIC.skipped] === 0 ? Math.abs(finite[METRIC.norm]! - 4) : Infinity),
    );
    for (const size of [1e30, 1e-30]) {
      device.write(values, new Float32Array(64).fill(size));
      await plan.run([], signal);
      const norm = (await device.read(metrics))[METRIC.norm]!;
      results.push(probe(`the norm of gradients of ${size}`, Math.abs(norm / (8 * size) - 1)));
    }
  } finally {
    plan.dispose();
  }
  return results;
}
