/** What WebGPU reported about some of Gatewise's own calls. */
export interface Fault {
  readonly filter: GPUErrorFilter;
  readonly message: string;
}

/**
 * From the innermost scope outwards: memory that ran out explains the errors that follow from it. Internal errors come of
 * making pipelines only, and reject the promise of the pipeline.
 */
const FILTERS = ["out-of-memory", "validation"] as const;

/**
 * Catches the errors of Gatewise's own calls, and of no others. A GPUDevice has one stack of scopes for everybody who
 * uses it, so a scope never stays open while something is awaited: what others do meanwhile would fall into it.
 */
export class ErrorScopes {
  private first: Fault | undefined;
  /** Answers that are still on their way: a few, as long as the GPU gets on. */
  private readonly pending = new Set<Promise<void>>();
  private inside = false;

  constructor(private readonly gpuDevice: GPUDevice) {}

  /** Makes some calls; what WebGPU has to say about them comes later. Calls inside of others are judged with them. */
  capture<T>(calls: () => T): { readonly value: T; readonly fault: Promise<Fault | undefined> } {
    for (let i = FILTERS.length - 1; i >= 0; i--) this.gpuDevice.pushErrorScope(FILTERS[i]!);
    this.inside = true;
    try {
      const value = calls();
      return { value, fault: this.close() };
    } catch (error) {
      void this.close();
      throw error;
    }
  }

  private async close(): Promise<Fault | undefined> {
    this.inside = false;
    const found = await Promise.all(
      FILTERS.map(async (filter) => {
        try {
          const error = await this.gpuDevice.popErrorScope();
          return error ? { filter, message: error.message } : undefined;
        } catch {
          return undefined; // A device that is lost says so elsewhere.
        }
      }),
    );
    return found.find(Boolean);
  }

  /** Makes some calls and notes what WebGPU has to say about them, without waiting for it. */
  run<T>(calls: () => T): T {
    if (this.inside) return calls();
    const { value, fault } = this.capture(calls);
    const noted = fault.then((found) => {
      this.first ??= found;
      this.pending.delete(noted);
    });
    this.pending.add(noted);
    return value;
  }

  /** Whether an error was noted that nobody took yet. */
  get failed(): boolean {
    return this.first !== undefined;
  }

  /** Waits for the judgement on all calls so far and takes the first error. */
  async take(): Promise<Fault | undefined> {
    if (this.pending.size > 0) await Promise.all(this.pending);
    const fault = this.first;
    this.first = undefined;
    return fault;
  }
}
