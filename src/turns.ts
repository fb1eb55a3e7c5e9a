// Calls on one object, served in order, until it is disposed of; and waiting that can be ended.
import { disposedError } from "./errors.ts";

/** Serves asynchronous work on one object in the order in which it was asked for, one piece at a time. */
export class Turns {
  private last: Promise<unknown> = Promise.resolve();
  private pending = 0;

  /** Begins `work` when all that was asked for before has ended, well or badly. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const ended = (): void => void this.pending--;
    this.pending++;
    const next = this.last.then(work);
    this.last = next.then(ended, ended);
    return next;
  }

  /** Does `work` at once if nothing is pending, else in its turn; what it throws then has no one to hear it. */
  soon(work: () => void): void {
    if (this.pending === 0) work();
    else this.take(async () => work()).catch(() => {});
  }
}

/**
 * The life of an object that serves calls in turn until it is disposed of. What is made of another object, such as a
 * trainer of a model, shares its turns and ends with it.
 */
export class Lifetime {
  private readonly turns: Turns;
  private disposed = false;

  constructor(
    private readonly what: string,
    private readonly parent?: Lifetime,
  ) {
    this.turns = parent?.turns ?? new Turns();
  }

  /** @throws GatewiseError E_DISPOSED */
  check(where: string): void {
    if (this.disposed) throw disposedError(`${where}: this ${this.what}`);
    this.parent?.check(where);
  }

  /**
   * Does `work` in its turn. Once `signal` is aborted nobody waits for it; the turn is over when the work has ended, which
   * it must do soon.
   *
   * @throws GatewiseError E_DISPOSED if the object is gone now, or is when the turn comes; the signal's reason
   */
  async serve<T>(where: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    this.check(where);
    const served = this.turns.take(async () => {
      this.check(where);
      signal?.throwIfAborted();
      return work();
    });
    return abortable(signal, served);
  }

  /** Does what gives no answer, before any later call. @throws GatewiseError E_DISPOSED */
  order(where: string, work: () => void): void {
    this.check(where);
    this.turns.soon(work);
  }

  /** Ends the object's life, once. `release` frees what it holds when the call that is being served has ended. */
  dispose(release: () => void): void {
    if (this.disposed) return;
    this.disposed = true;
    this.turns.soon(release);
  }
}

/**
 * The value of `work`, or the signal's reason as soon as it is aborted: then nobody waits for the work any more, which
 * has to end by itself.
 */
export async function abortable<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (!signal) return work;
  work.catch(() => {}); // Nobody's any more, once aborted.
  signal.throwIfAborted();
  return new Promise<T>((resolve, reject) => {
    const stop = (): void => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    void work.then(resolve, reject).then(() => signal.removeEventListener("abort", stop));
  });
}
