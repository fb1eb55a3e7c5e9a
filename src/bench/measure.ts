// How everything is timed: in interleaved rounds, so that a noisy machine disturbs all subjects alike.

/** Milliseconds of one run of a subject over some rounds. */
export interface Timing {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly rounds: number;
}

/** Something to time: `run` resolves when its work is done, and does it `times` times. */
export interface Subject {
  readonly run: () => Promise<void>;
  readonly times: number;
}

/** Runs all subjects once a round and returns their times, in order. The first round, which warms up, does not count. */
export async function timeInterleaved(
  subjects: readonly Subject[],
  rounds: number,
  signal?: AbortSignal,
): Promise<readonly Timing[]> {
  const times = subjects.map((): number[] => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [i, { run, times: count }] of subjects.entries()) {
      signal?.throwIfAborted();
      const begun = performance.now();
      await run();
      if (round > 0) times[i]!.push((performance.now() - begun) / count);
    }
  }
  return times.map(summarize);
}

/** Median, extremes and number of some times. */
export function summarize(times: readonly number[]): Timing {
  const sorted = [...times].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)!, rounds: sorted.length };
}

/** The slope of log y over log x by least squares: the exponent p of y ∝ xᵖ. */
export function exponent(points: readonly (readonly [x: number, y: number])[]): number {
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)] as const);
  const mean = (axis: 0 | 1): number => logs.reduce((sum, point) => sum + point[axis], 0) / logs.length;
  const [mx, my] = [mean(0), mean(1)];
  const covariance = logs.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0);
  return covariance / logs.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
}

/** Calls of a GPUDevice's methods. */
export interface Calls {
  submits: number;
  dispatches: number;
  buffers: number;
  bindGroups: number;
}

/** Counts calls of a GPUDevice while `use` runs; calls are passed on. */
export async function countCalls(gpuDevice: GPUDevice | undefined, use: () => Promise<void>): Promise<Calls> {
  const counts: Calls = { submits: 0, dispatches: 0, buffers: 0, bindGroups: 0 };
  if (!gpuDevice) {
    await use();
    return counts;
  }
  const undo: (() => void)[] = [];
  const wrap = (object: object, method: string, called: (result: unknown) => void): void => {
    const original = Reflect.get(object, method) as (...args: unknown[]) => unknown;
    Object.defineProperty(object, method, {
      configurable: true,
      value: (...args: unknown[]) => {
        const result = original.apply(object, args);
        called(result);
        return result;
      },
    });
    undo.push(() => void Reflect.deleteProperty(object, method));
  };
  wrap(gpuDevice.queue, "submit", () => counts.submits++);
  wrap(gpuDevice, "createBuffer", () => counts.buffers++);
  wrap(gpuDevice, "createBindGroup", () => counts.bindGroups++);
  wrap(gpuDevice, "createCommandEncoder", (encoder) =>
    wrap(encoder as object, "beginComputePass", (pass) => wrap(pass as object, "dispatchWorkgroups", () => counts.dispatches++)),
  );
  try {
    await use();
  } finally {
    for (const restore of undo) restore();
  }
  return counts;
}
