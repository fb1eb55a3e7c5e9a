// Stopping a run from outside: Ctrl-C, kill, a closed terminal, a closed pipe.
import { constants } from "node:os";

type StopSignal = "SIGINT" | "SIGTERM" | "SIGHUP" | "SIGPIPE";

/**
 * npm, npx and shells pass a terminal's Ctrl-C on to programs that the terminal has already told, so two signals
 * this close in time (milliseconds) are one key press.
 */
const SAME_KEY_PRESS = 500;

export interface StopRequest {
  /** Aborted at the first request. */
  readonly signal: AbortSignal;
  /** 128 + the signal's number once stopping was asked for: what the process should exit with. */
  readonly exitCode: number | undefined;
}

let stopping = false;

/** Whether this process was asked to stop. */
export const isStopping = (): boolean => stopping;

/** Turns the first signal into a request to stop in good order; a second one ends the process at once. */
export function listenForStop(announce: () => void): StopRequest {
  const controller = new AbortController();
  let first: { readonly code: number; readonly at: number } | undefined;
  const stop = (name: StopSignal): void => {
    const code = 128 + constants.signals[name];
    if (!first) {
      first = { code, at: performance.now() };
      stopping = true;
      controller.abort();
      announce();
    } else if (name !== "SIGPIPE" && performance.now() - first.at > SAME_KEY_PRESS) {
      process.exit(code);
    }
  };
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => stop(name));
  process.stdout.on("error", () => stop("SIGPIPE"));
  return {
    signal: controller.signal,
    get exitCode() {
      return first?.code;
    },
  };
}
