/** Serves asynchronous work on one object in the order in which it was asked for, one piece at a time. */
export class Turns {
  private last: Promise<unknown> = Promise.resolve();

  /** Begins `work` when all that was asked for before has ended, well or badly. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const next = this.last.then(work);
    this.last = next.catch(() => {});
    return next;
  }
}
