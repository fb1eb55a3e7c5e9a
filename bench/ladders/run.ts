// Climbs a ladder: checks each rung against the reference, times all of them in interleaved rounds, prints the table.
import { canRun } from "../../src/runtime/kernel.ts";
import { timeInterleaved, type Subject } from "../../src/bench/measure.ts";
import { openNodeDevice } from "../../src/runtime/node.ts";
import { probeAdapter } from "../../src/runtime/probe.ts";
import { Recorder } from "../../src/runtime/recorder.ts";
import { sizeOf } from "../../src/runtime/tensor.ts";
import { LADDERS, wrongRungs } from "./ladders.ts";
import { compareWavefront } from "./wavefront/wavefront.ts";

/** Times of a first run after which a rung sits out the rest: the naive ones at large sizes. */
const PATIENCE = 3000;

/** Runs the ladders whose names are given, or all. Returns the exit code. */
export async function main(names: readonly string[], rounds: number): Promise<number> {
  const unknown = names.find((name) => name !== "wavefront" && !LADDERS.some((ladder) => ladder.name === name));
  if (unknown) {
    console.error(`no ladder ${unknown}; there are ${[...LADDERS.map(({ name }) => name), "wavefront"].join(", ")}`);
    return 2;
  }
  // Tuned anew, and nothing kept: what the tuner takes is held against the best of all.
  const nothing = { load: () => undefined, save: () => {} };
  const device = await openNodeDevice({ prefer: "webgpu", tuning: "again", tuningStore: nothing, submitMilliseconds: 1000 });
  const limits = await probeAdapter(device);
  console.log(
    `${device.description} · ${limits.gigaflops.toFixed(1)} GFLOP/s · ${limits.gigabytesPerSecond.toFixed(1)} GB/s · ${new Date().toISOString().slice(0, 10)}\n`,
  );
  let failed = 0;
  for (const ladder of LADDERS.filter(({ name }) => names.length === 0 || names.includes(name))) {
    const wrong = await wrongRungs(device, ladder);
    failed += wrong.size;
    for (const shape of ladder.shapes) {
      const rungs = ladder.rungs.filter(
        ({ name, entry, variant }) =>
          !wrong.has(name) &&
          canRun(
            entry.variants.find((v) => v.name === variant)!,
            shape.params,
            device,
          ),
      );
      const tensors = Object.fromEntries(
        Object.entries(shape.tensors).map(([name, spec]) => [name, device.tensor({ name, ...spec })]),
      );
      for (const [name, { fill, shape: sizes, dtype }] of Object.entries(shape.tensors)) {
        const value = fill ?? ((i: number) => (dtype === "u32" ? 0 : ((i * 7919) % 1000) / 5000 - 0.1));
        device.write(
          tensors[name]!,
          dtype === "u32"
            ? Uint32Array.from({ length: sizeOf(sizes) }, (_, i) => value(i))
            : Float32Array.from({ length: sizeOf(sizes) }, (_, i) => value(i)),
        );
      }
      const subjects: Subject[] = [];
      const timed: typeof rungs = [];
      const plans = [];
      for (const rung of rungs) {
        const plan = await device.record(rung.name, (r) => {
          if (rung.record) rung.record(r, tensors, shape.params);
          else r.dispatch(rung.entry, tensors, shape.params, rung.variant);
        });
        plans.push(plan);
        await plan.run();
        await device.finish();
        const begun = performance.now();
        await plan.run();
        await device.finish();
        const once = performance.now() - begun;
        if (once > PATIENCE) {
          console.log(`${ladder.name} ${shape.name}: ${rung.name} takes ${Math.round(once)} ms, and sits out`);
          continue;
        }
        const times = Math.max(1, Math.min(100, Math.round(20 / once)));
        timed.push(rung);
        subjects.push({
          times,
          run: async () => {
            for (let i = 0; i < times; i++) await plan.run();
            await device.finish();
          },
        });
      }
      // As often as a plan would need to be worth tuning.
      const tuned = await device.record("tuned", (r) => {
        for (let i = 0; i < 64; i++) r.dispatch(ladder.entry, tensors, shape.params);
      });
      tuned.dispose();
      const timings = await timeInterleaved(subjects, rounds);
      const work = ladder.operations?.(shape.params) ?? ladder.bytes!(shape.params);
      const limit = ladder.operations ? limits.gigaflops : limits.gigabytesPerSecond;
      console.log(
        `### ${ladder.name}, ${shape.name}\n\n| rung | ms (min–max) | ${ladder.operations ? "GFLOP/s" : "GB/s"} | of the limit |\n| --- | --- | --- | --- |`,
      );
      timed.forEach(({ name }, i) => {
        const { median, min, max } = timings[i]!;
        const rate = work / median / 1e6;
        console.log(
          `| ${name} | ${median.toPrecision(3)} (${min.toPrecision(3)}–${max.toPrecision(3)}) | ${rate.toPrecision(3)} | ${((100 * rate) / limit).toFixed(1)} % |`,
        );
      });
      const key = ladder.entry.tuneBy && new Recorder(device);
      key?.dispatch(ladder.entry, tensors, shape.params);
      const taken = device.tuner?.results.get([...(key?.choices.keys() ?? [])][0] ?? "")?.chosen;
      const own = timed.findIndex(({ entry, variant }) => entry === ladder.entry && variant === taken);
      if (own >= 0) {
        const candidates = timings.filter((_, i) => timed[i]!.entry === ladder.entry);
        const ratio = timings[own]!.min / Math.min(...candidates.map(({ min }) => min));
        console.log(`\nThe tuner takes "${taken}": ${ratio.toFixed(2)} of the best variant's time.`);
      }
      console.log();
      for (const plan of plans) plan.dispose();
      device.free(...Object.values(tensors));
    }
    for (const [name, problem] of wrong) console.log(`- WRONG, not timed: ${name}: ${problem}`);
  }
  if (names.length === 0 || names.includes("wavefront")) {
    for (const sizes of [
      { B: 16, H: 64, T: 32 },
      { B: 64, H: 128, T: 16 },
    ]) {
      console.log(`### wavefront, two layers, B=${sizes.B} H=${sizes.H} T=${sizes.T}\n`);
      console.log("| rung | ms (min–max) | dispatches |\n| --- | --- | --- |");
      for (const { name, timing, dispatches } of await compareWavefront(device, sizes, rounds)) {
        const { median, min, max } = timing;
        console.log(`| ${name} | ${median.toPrecision(3)} (${min.toPrecision(3)}–${max.toPrecision(3)}) | ${dispatches} |`);
      }
      console.log();
    }
  }
  console.log(`Tuning took ${((device.tuner?.milliseconds ?? 0) / 1000).toFixed(1)} s in all.`);
  device.dispose();
  return failed > 0 ? 1 : 0;
}
