// What asks a run to stop, and what ends it.
import { afterEach, beforeEach, expect, it, vi, type MockInstance } from "vitest";

const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
type Signal = keyof typeof SIGNALS;

let now = 0;
let before: ((...args: any[]) => void)[][];
let exit: MockInstance<typeof process.exit>;
beforeEach(() => {
  now = 10_000;
  before = Object.keys(SIGNALS).map((name) => process.listeners(name as Signal));
  vi.spyOn(performance, "now").mockImplementation(() => now);
  exit = vi.spyOn(process, "exit").mockImplementation(() => undefined as never);
  vi.resetModules();
});
const own = (name: Signal): ((...args: any[]) => void)[] =>
  process.listeners(name).filter((each) => !before[Object.keys(SIGNALS).indexOf(name)]!.includes(each));
const send = (name: Signal): void => own(name).forEach((listener) => listener(name));
const closing = process.stdout.listeners("error");
const closePipe = (): void =>
  process.stdout.listeners("error").forEach((each) => closing.includes(each) || (each as () => void)());
afterEach(() => {
  for (const name of Object.keys(SIGNALS) as Signal[]) for (const each of own(name)) process.off(name, each);
  for (const each of process.stdout.listeners("error"))
    if (!closing.includes(each)) process.stdout.off("error", each as () => void);
  vi.restoreAllMocks();
});

for (const [name, code] of Object.entries(SIGNALS) as [Signal, number][]) {
  it(`the first ${name} asks to stop, its echo within half a second is the same key press, and one after that ends the process`, async () => {
    const { isStopping, listenForStop } = await import("../../src/cli/stop.ts");
    const announce = vi.fn();
    const stop = listenForStop(announce);
    expect([stop.exitCode, stop.signal.aborted, isStopping()]).toEqual([undefined, false, false]);
    send(name);
    expect([stop.exitCode, stop.signal.aborted, isStopping()]).toEqual([code, true, true]);
    for (const later of [0, 250, 250]) {
      now += later;
      send(name);
    }
    expect(exit).not.toHaveBeenCalled();
    now += 1;
    send(name);
    expect(exit.mock.calls).toEqual([[code]]);
    expect(announce).toHaveBeenCalledOnce();
    expect(stop.exitCode).toBe(code);
  });
}

it("a signal after another ends the process with its own number", async () => {
  const { listenForStop } = await import("../../src/cli/stop.ts");
  const stop = listenForStop(() => {});
  send("SIGINT");
  now += 600;
  send("SIGTERM");
  expect(exit.mock.calls).toEqual([[143]]);
  expect(stop.exitCode).toBe(130);
});

it("a reader that has gone asks to stop, however often it is noticed", async () => {
  const { listenForStop } = await import("../../src/cli/stop.ts");
  const stop = listenForStop(() => {});
  closePipe();
  now += 5000;
  closePipe();
  expect(exit).not.toHaveBeenCalled();
  expect([stop.exitCode, stop.signal.aborted]).toEqual([141, true]);
});
