// What the tuner remembers of an adapter beyond the life of a process: one text in a store that others write to as well.
import type { Family } from "./kernel.ts";

/** Where results outlive the process: small texts by name. A text that cannot be read counts as none. */
export interface TuningStore {
  /** What was saved under a name, if anything was. */
  load(name: string): Promise<string | undefined> | string | undefined;
  /** Keeps a text under a name. */
  save(name: string, text: string): Promise<void> | void;
  /** Replaces a text by what `change` makes of it, with nobody's writing in between; else it is loaded and saved. */
  update?(name: string, change: (text: string | undefined) => string): Promise<void> | void;
}

/** What was chosen, and why. */
export interface Tuned {
  /** The name of the variant or form that is taken. */
  readonly chosen: string;
  /** What was taken without tuning. */
  readonly preferred: string;
  /** Milliseconds by candidate, the best of some runs; those that lost early ran least. */
  readonly milliseconds: Readonly<Record<string, number>>;
  /** Candidates that computed something else, and what; they are never taken. */
  readonly rejected: Readonly<Record<string, string>>;
  /** Hash of the candidates' shaders. */
  readonly shaders: string;
}

/** A candidate that is being tried: what is left of a process that did not live to see the end of it. */
interface Mark {
  readonly key: string;
  readonly candidate: string;
  /** Date.now() when it began. */
  readonly at: number;
  readonly by: string;
}

interface SavedTuning {
  readonly version: number;
  readonly adapter: string;
  readonly family?: Family;
  readonly choices: Readonly<Record<string, Tuned>>;
  /** Candidates by choice that took the device with them. */
  readonly lost: Readonly<Record<string, readonly string[]>>;
  readonly trying: readonly Mark[];
}

const VERSION = 2;
/** Milliseconds after which nobody can still be trying a candidate. */
const LONGEST_TRIAL = 20_000;
/** Milliseconds that a store may take to answer: more than a file waits for a lock that was left behind. */
const LONGEST_ANSWER = 4000;

export class TuningMemory {
  readonly choices = new Map<string, Tuned>();
  family: Family | undefined;
  /** Choices of which someone else is just trying a candidate, or has died of it a moment ago. */
  readonly elsewhere = new Set<string>();
  private readonly lost = new Map<string, Set<string>>();
  private readonly forgotten = new Set<string>();
  private readonly id = crypto.randomUUID?.() ?? String(Math.random());
  private mark: Mark | undefined;
  private last: Promise<void> = Promise.resolve();

  constructor(
    private store: TuningStore | undefined,
    /** The adapter, its limits, and what drives it. */
    private readonly identity: string,
    /** Whether what was found before is not to be known any more. */
    private again: boolean,
  ) {}

  private get name(): string {
    return `tuning-${hash(this.identity)}`;
  }

  /** Candidates of a choice that took the device with them, in this process or another. */
  lostOf(key: string): ReadonlySet<string> {
    return this.lost.get(key) ?? new Set();
  }

  /** Learns what others have found since, and what they died of. */
  async load(): Promise<void> {
    if (this.again) return;
    const saved = decode(await this.ask((store) => store.load(this.name)), this.identity);
    if (!saved) return;
    this.family ??= saved.family;
    for (const [key, tuned] of Object.entries(saved.choices))
      if (!this.choices.has(key) && !this.forgotten.has(key)) this.choices.set(key, tuned);
    for (const [key, candidates] of Object.entries(saved.lost)) for (const each of candidates) this.lose(key, each);
    this.elsewhere.clear();
    for (const { key, candidate, at, by } of saved.trying) {
      if (by === this.id) continue;
      if (Math.abs(Date.now() - at) < LONGEST_TRIAL) this.elsewhere.add(key);
      else this.lose(key, candidate);
    }
  }

  /** Keeps a choice. */
  async remember(key: string, tuned: Tuned): Promise<void> {
    this.choices.set(key, tuned);
    this.forgotten.delete(key);
    this.mark = undefined;
    await this.save();
  }

  forget(key: string): void {
    this.choices.delete(key);
    this.forgotten.add(key);
  }

  /** Keeps that a candidate is about to be tried; `undefined` when it was. */
  async trying(key: string, candidate: string | undefined): Promise<void> {
    if (candidate === undefined && this.mark === undefined) return;
    this.mark = candidate === undefined ? undefined : { key, candidate, at: Date.now(), by: this.id };
    await this.save();
  }

  /** Keeps that a candidate took the device with it. */
  async tookTheDevice(key: string, candidate: string): Promise<void> {
    this.lose(key, candidate);
    this.mark = undefined;
    await this.save();
  }

  private lose(key: string, candidate: string): void {
    const lost = this.lost.get(key);
    if (lost) lost.add(candidate);
    else this.lost.set(key, new Set([candidate]));
  }

  /** Adds what is known here to what the store has. */
  save(): Promise<void> {
    const { name } = this;
    const change = (text: string | undefined): string => encode(this.mergedWith(decode(text, this.identity)));
    this.last = this.last.then(() =>
      this.ask(async (store) => {
        if (store.update) await store.update(name, change);
        else await store.save(name, change(await store.load(name)));
        this.again = false;
      }),
    );
    return this.last;
  }

  private mergedWith(saved: SavedTuning | undefined): SavedTuning {
    const others = this.again ? undefined : saved;
    const family = this.family ?? others?.family;
    const known = Object.entries(others?.choices ?? {}).filter(([key]) => !this.forgotten.has(key));
    const lost = new Map(Object.entries(others?.lost ?? {}));
    for (const [key, candidates] of this.lost) lost.set(key, [...new Set([...(lost.get(key) ?? []), ...candidates])]);
    const trying = (others?.trying ?? []).filter(
      ({ key, candidate, by }) => by !== this.id && !lost.get(key)?.includes(candidate),
    );
    return {
      version: VERSION,
      adapter: this.identity,
      ...(family && { family }),
      choices: Object.fromEntries([...known, ...this.choices]),
      lost: Object.fromEntries(lost),
      trying: this.mark ? [...trying, this.mark] : trying,
    };
  }

  /**
   * What the store answers. One that is full or forbidden costs the memory, not the work, and one that does not answer is
   * none from then on.
   */
  private async ask<T>(call: (store: TuningStore) => Promise<T> | T): Promise<T | undefined> {
    if (!this.store) return undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve((this.store = undefined)), LONGEST_ANSWER);
    });
    try {
      return await Promise.race([call(this.store), late]);
    } catch {
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The text of what is kept, with a sum over it: a text that was changed by a letter is none. */
function encode(saved: SavedTuning): string {
  return JSON.stringify({ ...saved, sum: hash(JSON.stringify(saved)) }, null, 1);
}

/** What a text says, if it is whole and about this adapter. */
function decode(text: string | undefined, adapter: string): SavedTuning | undefined {
  try {
    const { sum, ...saved } = JSON.parse(text ?? "") as Record<string, unknown>;
    const whole =
      saved.version === VERSION &&
      saved.adapter === adapter &&
      // Throws for what is nested too deep.
      sum === hash(JSON.stringify(saved)) &&
      [undefined, "software", "gpu"].includes(saved.family as string) &&
      isRecord(saved.choices, isTuned) &&
      isRecord(saved.lost, (each) => Array.isArray(each) && each.every(isString)) &&
      Array.isArray(saved.trying) &&
      saved.trying.every(isMark);
    return whole ? (saved as unknown as SavedTuning) : undefined;
  } catch {
    return undefined;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isString = (value: unknown): value is string => typeof value === "string";
const isRecord = (value: unknown, isValue: (each: unknown) => boolean): boolean =>
  isObject(value) && Object.values(value).every(isValue);

const isTuned = (value: unknown): boolean =>
  isObject(value) &&
  isString(value.chosen) &&
  isString(value.preferred) &&
  isString(value.shaders) &&
  isRecord(value.milliseconds, (each) => Number.isFinite(each)) &&
  isRecord(value.rejected, isString);

const isMark = (value: unknown): boolean =>
  isObject(value) && [value.key, value.candidate, value.by].every(isString) && Number.isFinite(value.at);

/** FNV-1a, 32 bits twice: names of files and changes of shaders, not secrets. */
export function hash(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x01000193;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b);
  }
  return [a, b].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}
