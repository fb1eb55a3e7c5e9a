// What the tuner remembers, without a GPU: texts that others write to, break and forge.
import fc from "fast-check";
import { getEventListeners } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { fileStore } from "../../src/runtime/node.ts";
import { tickOf } from "../../src/runtime/tuning-trial.ts";
import { hash, TuningMemory, type Tuned, type TuningStore } from "../../src/runtime/tuning-memory.ts";
import { abortable, Lifetime } from "../../src/turns.ts";

const ADAPTER = "an adapter";
const FILE = `tuning-${hash(ADAPTER)}`;
const folder = mkdtempSync(join(tmpdir(), "gatewise-tuning-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const tuned = (chosen: string): Tuned => ({
  chosen,
  preferred: "slow",
  milliseconds: { slow: 2.5, fast: 0.125 },
  rejected: { wrong: "relative L2 3.0e-1" },
  shaders: hash("the shaders"),
});

const texts = (text?: string): TuningStore & { text: string | undefined } => ({
  text,
  load() {
    return this.text;
  },
  save(_name, text) {
    this.text = text;
  },
});

const memoryOf = (store: TuningStore, again = false): TuningMemory => new TuningMemory(store, ADAPTER, again);

async function kept(): Promise<string> {
  const store = texts();
  const memory = memoryOf(store);
  memory.family = "software";
  await memory.remember("lstm.forward 64 128", tuned("fast"));
  await memory.remember("matmul.nn 64 64 64", tuned("slow"));
  await memory.tookTheDevice("gru.forward 64 128", "tiled");
  await memory.trying("rnn.forward 64 128", "tiled");
  return store.text!;
}

/** The text with another value inside, whose sum is right again. */
function forged(text: string, change: (saved: any) => unknown): string {
  const { sum: _, ...saved } = JSON.parse(text);
  change(saved);
  return JSON.stringify({ ...saved, sum: hash(JSON.stringify(saved)) });
}

async function loaded(text: string): Promise<TuningMemory> {
  const memory = memoryOf(texts(text));
  await memory.load();
  return memory;
}

describe("what the tuner remembers", () => {
  it("comes back as it was kept, and is nothing to another adapter", async () => {
    const text = await kept();
    const memory = await loaded(text);
    expect([...memory.choices]).toEqual([
      ["lstm.forward 64 128", tuned("fast")],
      ["matmul.nn 64 64 64", tuned("slow")],
    ]);
    expect(memory.family).toBe("software");
    expect([...memory.lostOf("gru.forward 64 128")]).toEqual(["tiled"]);
    const other = new TuningMemory(texts(text), "another", false);
    await other.load();
    expect(other.choices.size).toBe(0);
  });

  it("is not written anew where no trial has ended", async () => {
    const store = texts();
    const memory = memoryOf(store);
    await memory.trying("k", undefined);
    expect(store.text).toBeUndefined();
    await memory.trying("k", "tiled");
    expect(store.text).toContain("tiled");
    await memory.trying("k", undefined);
    expect(store.text).not.toContain("tiled");
  });

  it("is of either family, or of none", async () => {
    for (const family of ["gpu", "software", undefined] as const) {
      const store = texts();
      const memory = memoryOf(store);
      memory.family = family;
      await memory.remember("k", tuned("fast"));
      expect("family" in JSON.parse(store.text!)).toBe(family !== undefined);
      const again = await loaded(store.text!);
      expect([again.family, again.choices.size]).toEqual([family, 1]);
    }
  });

  it("is whole or nothing: 2,000 mutated texts give no foreign error and no choice that was not made", async () => {
    const text = await kept();
    const right = new Map((await loaded(text)).choices);
    let mutants = 0;
    const at = fc.nat(text.length - 1);
    const mutation = fc.oneof(
      fc.tuple(at, fc.string({ minLength: 1, maxLength: 3 })).map(([i, s]) => text.slice(0, i) + s + text.slice(i + s.length)),
      fc.tuple(at, fc.nat(40)).map(([i, n]) => text.slice(0, i) + text.slice(i + n + 1)),
      fc.tuple(at, at, fc.nat(60)).map(([i, j, n]) => text.slice(0, i) + text.slice(j, j + n) + text.slice(i)),
      at.map((i) => text.slice(0, i)),
      fc
        .tuple(fc.constantFrom("choices", "lost", "trying", "family", "version", "adapter"), fc.jsonValue())
        .map(([name, value]) => forged(text, (saved) => (saved[name] = value))),
      fc
        .tuple(fc.constantFrom("chosen", "preferred", "milliseconds", "rejected", "shaders"), fc.jsonValue())
        .map(([name, value]) => forged(text, (saved) => (saved.choices["lstm.forward 64 128"][name] = value))),
      fc.constantFrom("[".repeat(50_000), '{"a":'.repeat(50_000), "null", "7", '""', "[]", "{}"),
    );
    await fc.assert(
      fc.asyncProperty(mutation, async (mutant) => {
        mutants++;
        const { choices } = await loaded(mutant);
        for (const [key, { chosen }] of choices) {
          // What was forged with its sum is read, but never as something that is no name.
          expect(typeof chosen).toBe("string");
          if (!mutant.includes('"sum"') || mutant.includes(text.slice(-30))) continue;
          expect(right.has(key)).toBe(true);
        }
        if (mutant !== text && !isForged(mutant)) expect(choices.size, mutant).toBe(0);
      }),
      { numRuns: 2000 },
    );
    expect(mutants).toBe(2000);
    function isForged(mutant: string): boolean {
      try {
        const { sum, ...saved } = JSON.parse(mutant);
        return sum === hash(JSON.stringify(saved));
      } catch {
        return false;
      }
    }
  });

  it.each([
    ["a time that is no number", (saved: any) => (saved.choices["lstm.forward 64 128"].milliseconds.fast = "0.1")],
    ["a name that is no text", (saved: any) => (saved.choices["lstm.forward 64 128"].chosen = 7)],
    ["choices in a list", (saved: any) => (saved.choices = [])],
    ["a family that there is not", (saved: any) => (saved.family = "quantum")],
    ["a loss that is no list", (saved: any) => (saved.lost = { key: "tiled" })],
    ["a loss of which a part is no text", (saved: any) => (saved.lost = { one: ["tiled"], key: ["tiled", 7] })],
    ["losses in a list", (saved: any) => (saved.lost = [])],
    ["a choice that is no object", (saved: any) => (saved.choices["matmul.nn 64 64 64"] = null)],
    ["a choice in a list", (saved: any) => (saved.choices["matmul.nn 64 64 64"] = [])],
    ["a preference that is no text", (saved: any) => (saved.choices["lstm.forward 64 128"].preferred = 7)],
    ["shaders that are no text", (saved: any) => delete saved.choices["lstm.forward 64 128"].shaders],
    ["a reason that is no text", (saved: any) => (saved.choices["lstm.forward 64 128"].rejected.wrong = 7)],
    ["marks that are no list", (saved: any) => (saved.trying = {})],
    ["a mark that is no object", (saved: any) => (saved.trying = ["k"])],
    ["a mark without a candidate", (saved: any) => (saved.trying = [{ key: "k", by: "b", at: 1 }])],
    ["another version", (saved: any) => (saved.version = 1)],
    ["a mark without a time", (saved: any) => (saved.trying = [{ key: "k", candidate: "c", by: "b" }])],
  ])("counts as nothing with %s", async (_, change) => {
    const memory = await loaded(forged(await kept(), change));
    expect(memory.choices.size).toBe(0);
    expect(memory.family).toBeUndefined();
  });

  it("keeps what another process has found since", async () => {
    const store = texts();
    const [one, two] = [memoryOf(store), memoryOf(store)];
    await one.remember("a", tuned("fast"));
    await two.remember("b", tuned("slow"));
    await one.remember("c", tuned("fast"));
    const third = memoryOf(store);
    await third.load();
    expect([...third.choices.keys()].sort()).toEqual(["a", "b", "c"]);
  });

  it("keeps what was measured last where the store has another", async () => {
    const store = texts();
    await memoryOf(store).remember("a", tuned("fast"));
    await memoryOf(store).remember("a", tuned("slow"));
    const third = memoryOf(store);
    await third.load();
    expect(third.choices.get("a")!.chosen).toBe("slow");
  });

  it("forgets all of it when told so, but not what is found from then on", async () => {
    const store = texts(await kept());
    const memory = memoryOf(store, true);
    await memory.load();
    expect(memory.choices.size).toBe(0);
    await memory.remember("new", tuned("fast"));
    await memoryOf(store).remember("newer", tuned("fast"));
    await memory.load();
    expect([...memory.choices.keys()]).toEqual(["new", "newer"]);
    await memoryOf(store).remember("third", tuned("fast"));
    await memory.remember("fourth", tuned("fast"));
    expect([...(await loaded(store.text!)).choices.keys()].sort()).toEqual(["fourth", "new", "newer", "third"]);
  });

  it("a candidate that was being tried when its process died is passed over; one that is tried now is left alone", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      const store = texts();
      await memoryOf(store).trying("k", "tiled");
      const now = memoryOf(store);
      await now.load();
      expect([now.elsewhere.has("k"), now.lostOf("k").size]).toEqual([true, 0]);
      vi.setSystemTime(Date.now() + 60_000);
      const later = memoryOf(store);
      await later.load();
      expect([later.elsewhere.has("k"), [...later.lostOf("k")]]).toEqual([false, ["tiled"]]);
      // Kept as such, not only concluded.
      await later.save();
      expect(JSON.parse(store.text!)).toMatchObject({ lost: { k: ["tiled"] }, trying: [] });
    } finally {
      vi.useRealTimers();
    }
  });

  it("what another has tried and lived to tell is left alone no longer", async () => {
    const store = texts();
    const [one, two] = [memoryOf(store), memoryOf(store)];
    await one.trying("k", "tiled");
    await two.load();
    expect([...two.elsewhere]).toEqual(["k"]);
    await one.trying("k", undefined);
    await two.load();
    expect([...two.elsewhere]).toEqual([]);
  });

  it("one that was tried and lived is not held against it", async () => {
    const store = texts();
    const memory = memoryOf(store);
    await memory.trying("k", "tiled");
    await memory.trying("k", undefined);
    expect(JSON.parse(store.text!).trying).toEqual([]);
  });

  it("is not what was forgotten, here or in the store", async () => {
    const store = texts();
    const [one, two] = [memoryOf(store), memoryOf(store)];
    await two.remember("a", tuned("fast"));
    await one.load();
    one.forget("a");
    await one.load();
    expect([...one.choices.keys()]).toEqual([]);
    await one.remember("b", tuned("slow"));
    expect(Object.keys(JSON.parse(store.text!).choices)).toEqual(["b"]);
    await one.load();
    expect([...one.choices.keys()]).toEqual(["b"]);
  });

  it("is what this process chose itself, though another has chosen otherwise since", async () => {
    const store = texts();
    const [one, two] = [memoryOf(store), memoryOf(store)];
    await one.remember("a", tuned("fast"));
    await two.remember("a", tuned("slow"));
    await one.load();
    expect([one.choices.get("a")!.chosen, JSON.parse(store.text!).choices.a.chosen]).toEqual(["fast", "slow"]);
  });

  it("tells processes apart on pages that are not secure too, where nobody makes identities", async () => {
    vi.stubGlobal("crypto", {});
    const store = texts();
    const [one, two] = [memoryOf(store), memoryOf(store)];
    vi.unstubAllGlobals();
    await one.trying("k", "tiled");
    await one.load();
    await two.load();
    expect([one.elsewhere.size, [...two.elsewhere]]).toEqual([0, ["k"]]);
  });

  it("has one mark for each who is trying something, but none of what was lost", async () => {
    const store = texts();
    const [one, two, three] = [memoryOf(store), memoryOf(store), memoryOf(store)];
    const trying = (): string[] =>
      JSON.parse(store.text!).trying.map(({ key, candidate }: { key: string; candidate: string }) => `${key} ${candidate}`);
    await one.trying("k", "tiled");
    await two.trying("k", "sliced");
    await two.trying("l", "sliced");
    expect(trying()).toEqual(["k tiled", "l sliced"]);
    await three.tookTheDevice("k", "sliced");
    expect(trying()).toEqual(["k tiled", "l sliced"]);
    await three.tookTheDevice("k", "tiled");
    expect(trying()).toEqual(["l sliced"]);
  });

  it("every candidate that took a device with it, in whichever process", async () => {
    const store = texts();
    const [one, two] = [memoryOf(store), memoryOf(store)];
    await one.tookTheDevice("k", "tiled");
    await two.tookTheDevice("k", "sliced");
    await one.tookTheDevice("k", "tiled");
    expect([...(await loaded(store.text!)).lostOf("k")].sort()).toEqual(["sliced", "tiled"]);
  });

  it("one that took the device with it is tried no longer, by anybody", async () => {
    const store = texts();
    const memory = memoryOf(store);
    await memory.trying("k", "tiled");
    await memory.tookTheDevice("k", "tiled");
    expect(JSON.parse(store.text!)).toMatchObject({ lost: { k: ["tiled"] }, trying: [] });
  });

  it("does without a store, and with one that fails at everything", async () => {
    const fails = (): never => {
      throw new DOMException("forbidden", "SecurityError");
    };
    for (const store of [undefined, { load: fails, save: fails }, { load: fails, save: fails, update: fails }]) {
      const memory = new TuningMemory(store, ADAPTER, false);
      await memory.load();
      await memory.remember("k", tuned("fast"));
      expect(memory.choices.get("k")!.chosen).toBe("fast");
    }
  });

  it("does without a store that does not answer in four seconds, from then on, but not without one that has answered", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      for (const answers of [true, false]) {
        const store = texts();
        const load = vi.fn(() => (answers ? undefined : new Promise<undefined>(() => {})));
        const memory = memoryOf({ load, save: (name, text) => store.save(name, text) });
        const loading = memory.load();
        await vi.advanceTimersByTimeAsync(4000);
        await loading;
        await memory.remember("k", tuned("fast"));
        expect(memory.choices.get("k")!.chosen).toBe("fast");
        expect(load).toHaveBeenCalledTimes(answers ? 2 : 1);
        expect(store.text !== undefined).toBe(answers);
        expect(vi.getTimerCount()).toBe(0);
      }
    } finally {
      vi.useRealTimers();
    }
  });

  it("files of one folder take every change of many writers at once, and a lock of a dead one is broken", async () => {
    const stores = Array.from({ length: 8 }, () => fileStore(folder));
    writeFileSync(join(folder, `${FILE}.json.lock`), "");
    const writers = stores.flatMap((store, i) => [0, 1, 2].map((j) => memoryOf(store).remember(`${i} ${j}`, tuned("fast"))));
    await Promise.all(writers);
    expect(Object.keys(JSON.parse(readFileSync(join(folder, `${FILE}.json`), "utf8")).choices)).toHaveLength(24);
  });
});

it.each(["load", "save", "update"] as const)(
  "a store whose %s never answers is waited for once, and is none from then on",
  async (dead) => {
    vi.useFakeTimers();
    try {
      let asked = 0;
      const never = (): Promise<never> => (asked++, new Promise<never>(() => {}));
      const memory = memoryOf({ ...texts(), [dead]: never });
      const work = memory
        .load()
        .then(() => memory.trying("lstm.forward 64 128", "fast"))
        .then(() => memory.remember("lstm.forward 64 128", tuned("fast")));
      await vi.advanceTimersByTimeAsync(5000);
      await work;
      expect(asked).toBe(1);
      expect(memory.choices.get("lstm.forward 64 128")?.chosen).toBe("fast");
    } finally {
      vi.useRealTimers();
    }
  },
);

describe("waiting that can be ended", () => {
  const reason = new Error("enough");

  it("gives the value, the error, or the signal's reason, whichever comes first", async () => {
    const { signal } = new AbortController();
    expect(await abortable(signal, Promise.resolve(7))).toBe(7);
    await expect(abortable(signal, Promise.reject(new Error("no")))).rejects.toThrow("no");
    const controller = new AbortController();
    const waiting = abortable(controller.signal, new Promise(() => {}));
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(abortable(AbortSignal.abort(reason), Promise.resolve(7))).rejects.toBe(reason);
  });

  it("leaves no listener at a signal that outlives the work, however it ended", async () => {
    const { signal } = new AbortController();
    await abortable(signal, Promise.resolve(7));
    await abortable(signal, Promise.reject(new Error("no"))).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve));
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  it("a turn that was given up is over when its work is, not before", async () => {
    const life = new Lifetime("thing");
    const controller = new AbortController();
    const order: string[] = [];
    let end!: () => void;
    const long = new Promise<void>((resolve) => (end = resolve)).then(() => void order.push("long"));
    const first = life.serve("first", () => long, controller.signal);
    const second = life.serve("second", async () => void order.push("second"));
    await new Promise((resolve) => setTimeout(resolve));
    controller.abort(reason);
    await expect(first).rejects.toBe(reason);
    end();
    await second;
    expect(order).toEqual(["long", "second"]);
  });
});

describe("a clock's tick", () => {
  it.each([0.001, 1, 16, 100])("of %d ms is found", (tick) => {
    let time = 1234.5;
    expect(tickOf(() => Math.floor((time += tick / 37) / tick) * tick)).toBeCloseTo(tick, 6);
  });

  it("of one that stands is endless", () => {
    expect(tickOf(() => 7)).toBe(Infinity);
  });
});
