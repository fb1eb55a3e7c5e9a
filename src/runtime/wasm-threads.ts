// Threads that compute their parts of a dispatch over one shared memory. They wait in Atomics.wait, which is all the
// synchronization there is: the parts of a dispatch do not depend on each other.

/** Starts a thread that calls `serve`, the text of a function, with `data`; resolves when it is about to. */
export type Spawn = (serve: string, data: ThreadData) => Promise<{ terminate(): unknown }>;

export interface ThreadData {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly control: SharedArrayBuffer;
  readonly part: number;
  readonly parts: number;
}

/**
 * Integers of the control block: the number of the dispatch, threads that are still at it, the form's number, how many numbers it
 * is given, or −1 once a thread has failed.
 */
const [GENERATION, BUSY, FORM, COUNT] = [0, 1, 2, 3];
/** Behind them the numbers. */
const NUMBERS = 16;
const MOST_NUMBERS = 60;
/** Looks at what is awaited before a thread goes to sleep, which takes longer to end. */
const LOOKS = 2000;

/** The body of a thread; it may be sent as text, so it uses nothing from outside. */
export function serve({ module, memory, control, part, parts }: ThreadData): void {
  const forms = Object.values(new WebAssembly.Instance(module, { env: { memory } }).exports) as ((
    ...numbers: number[]
  ) => void)[];
  const words = new Int32Array(control, 0, 4);
  const numbers = new Float64Array(control, 16);
  for (let seen = 0; ; seen = (seen + 1) | 0) {
    for (let i = 0; i < 2000 && Atomics.load(words, 0) === seen; i++);
    // Who had done its part and slept again before the caller came to notify is woken by that for nothing.
    while (Atomics.load(words, 0) === seen) Atomics.wait(words, 0, seen);
    const given = numbers.slice(0, words[3]);
    const [scratch, each] = given.slice(-2);
    try {
      forms[words[2]!]!(...given.slice(0, -2), scratch! + part * each!, part, parts);
    } catch {
      words[3] = -1;
    }
    if (Atomics.sub(words, 1, 1) === 1) Atomics.notify(words, 1);
  }
}

/** A worker of a page, or of a worker of it: as much of a `Worker` as is used. */
export interface ThreadWorker {
  /** Called once the thread is there. */
  onmessage: unknown;
  /** Called where it cannot be loaded. */
  onerror: unknown;
  /** Gives the thread its memory. */
  postMessage(message: unknown, transfer: never[]): void;
  /** Ends the thread. */
  terminate(): void;
}

/** A thread in a worker; rejects where it cannot be loaded, or the page's policy does not allow it. */
export const inWorker = (worker: ThreadWorker, data: ThreadData): Promise<ThreadWorker> =>
  new Promise((resolve, reject) => {
    worker.onmessage = () => resolve(worker);
    worker.onerror = reject;
    worker.postMessage(data, []);
  });

export const spawnWorker: Spawn = async (serve, data) => {
  const code = `onmessage = ({ data }) => { postMessage("ready"); (${serve})(data); };`;
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  try {
    return await inWorker(new Worker(url), data);
  } finally {
    URL.revokeObjectURL(url);
  }
};

/** A module of Node's own, which no bundler for pages has to look for; undefined elsewhere. */
const builtin = <Module>(name: string): Module | undefined =>
  globalThis.process?.getBuiltinModule?.(name as "node:os") as Module | undefined;

const spawnInNode =
  ({ Worker }: typeof import("node:worker_threads")): Spawn =>
  (serve, data) =>
    new Promise((resolve, reject) => {
      const ready = `require("node:worker_threads").parentPort.postMessage("ready");`;
      const worker = new Worker(`${ready} (${serve})(require("node:worker_threads").workerData);`, {
        eval: true,
        // Not those of this process: --input-type=module would make a module of the text, and preloads are none of its business.
        execArgv: [],
        workerData: data,
      });
      worker.once("message", () => {
        worker.unref();
        resolve(worker);
      });
      worker.once("error", reject);
    });

/** What starts threads here, in pages by workers that `start` makes, if given; undefined where no memory can be shared. */
export function spawnHere(start?: () => ThreadWorker): Spawn | undefined {
  const node = builtin<typeof import("node:worker_threads")>("node:worker_threads");
  if (node) return spawnInNode(node);
  if (!globalThis.crossOriginIsolated || typeof Worker !== "function") return undefined;
  return start ? async (_, data) => inWorker(start(), data) : spawnWorker;
}

export const coresHere = (): number =>
  builtin<typeof import("node:os")>("node:os")?.availableParallelism() ?? globalThis.navigator?.hardwareConcurrency ?? 1;

export class Crew {
  private readonly words: Int32Array;
  private readonly numbers: Float64Array;
  private readonly formNames: readonly string[];

  private constructor(
    module: WebAssembly.Module,
    control: SharedArrayBuffer,
    private readonly threads: readonly { terminate(): unknown }[],
  ) {
    this.words = new Int32Array(control, 0, 4);
    this.numbers = new Float64Array(control, NUMBERS);
    this.formNames = WebAssembly.Module.exports(module).map(({ name }) => name);
  }

  /** Starts all threads but the caller's own. */
  static async start(module: WebAssembly.Module, memory: WebAssembly.Memory, parts: number, spawn: Spawn): Promise<Crew> {
    const control = new SharedArrayBuffer(NUMBERS + 8 * MOST_NUMBERS);
    const others = Array.from({ length: parts - 1 }, (_, i) => ({ module, memory, control, part: i + 1, parts }));
    const started = await Promise.allSettled(others.map((data) => spawn(String(serve), data)));
    const threads = started.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
    const crew = new Crew(module, control, threads);
    const failed = started.find((each) => each.status === "rejected");
    if (!failed) return crew;
    crew.dispose();
    throw failed.reason;
  }

  get parts(): number {
    return this.threads.length + 1;
  }

  /**
   * Runs all parts of a form; the first on this thread, by `own`. The last of its numbers are the first scratch, and the bytes of
   * each.
   *
   * @throws Error if another thread's part failed
   */
  run(name: string, given: readonly number[], own: () => void): void {
    const { words } = this;
    this.numbers.set(given);
    words[FORM] = this.formNames.indexOf(name);
    words[COUNT] = given.length;
    Atomics.store(words, BUSY, this.threads.length);
    Atomics.add(words, GENERATION, 1);
    Atomics.notify(words, GENERATION);
    own();
    for (let looks = 0; ; looks++) {
      const busy = Atomics.load(words, BUSY);
      if (busy === 0) break;
      // The main thread of a page may not sleep.
      if (looks > LOOKS && typeof document === "undefined") Atomics.wait(words, BUSY, busy);
    }
    if (words[COUNT]! < 0) throw new Error(`a thread of WebAssembly failed in ${name}`);
  }

  dispose(): void {
    for (const thread of this.threads) thread.terminate();
  }
}
