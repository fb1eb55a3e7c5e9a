// What is kept of a run on the disk. Nothing is called saved that cannot be read back, and what a browser throws away while
// the page is open, as private windows do, is written again.
import { GatewiseError } from "../../errors.ts";
import { Turns } from "../../turns.ts";
import { messageOf } from "./answer.ts";
import type { Lane } from "./lane.ts";
import type { Post, StoredRun } from "../protocol.ts";
import { holdsCheckpoint, writeModel, writeRun, writeRunFile } from "./storage.ts";
import type { LoadedText } from "./texts.ts";

/** Milliseconds between two looks at whether all is still there. */
const CHECK_INTERVAL = 20_000;

/** A run as it stands. */
export interface Keepable extends Pick<StoredRun, "id" | "settings" | "sampling"> {
  readonly text: LoadedText;
  readonly lanes: readonly Lane[];
}

export class Keeping {
  private readonly turns = new Turns();
  /** Bytes of the checkpoints that are on the disk. */
  private readonly written = new Map<Lane["preset"], number>();
  /** Whether the text can be had again, from the disk if it is the visitor's own: no checkpoint is of use without it. */
  private textKept: boolean;
  private readonly timer: ReturnType<typeof setInterval>;

  constructor(
    private readonly run: Keepable,
    private readonly post: Post,
  ) {
    this.textKept = run.text.info.data !== "own";
    for (const { preset, snapshot } of run.lanes) if (snapshot) this.written.set(preset, snapshot.bytes.length);
    this.timer = setInterval(() => void this.check(), CHECK_INTERVAL);
  }

  end(): void {
    clearInterval(this.timer);
  }

  /** Writes what there is of the run to the disk. */
  keep(begun = performance.now()): Promise<void> {
    return this.turns.take(() => this.write(begun));
  }

  /** Its description alone. */
  describe(): Promise<void> {
    const { id, settings, sampling, text, lanes } = this.run;
    return writeRun({ id, settings, sampling, presets: lanes.map(({ preset }) => preset), title: text.info.title });
  }

  /** Writes again what is gone. */
  check(): Promise<void> {
    return this.turns.take(async () => {
      for (const [preset, bytes] of this.written)
        if (!(await holdsCheckpoint(this.run.id, preset, bytes))) {
          this.textKept = this.run.text.info.data !== "own";
          return this.write(performance.now(), true);
        }
    });
  }

  private async write(begun: number, again = false): Promise<void> {
    const { id, lanes, text } = this.run;
    const kept = lanes.flatMap(({ preset, log, failure, snapshot }) => (snapshot ? [{ preset, log, failure, snapshot }] : []));
    try {
      if (!this.textKept) await writeRunFile(id, "text.txt", text.bytes ?? text.text);
      this.textKept = true;
      // All at once: a page that is left waits for it.
      await Promise.all([
        this.describe(),
        ...kept.map(({ preset, log, snapshot }) => writeModel(id, preset, log, snapshot.bytes)),
      ]);
      for (const { preset, snapshot } of kept) {
        if (!(await holdsCheckpoint(id, preset, snapshot.bytes.length)))
          throw new GatewiseError("E_DATA", "what was written could not be read back");
        this.written.set(preset, snapshot.bytes.length);
      }
      if (kept.length === 0) return;
      const sound = kept.filter(({ failure }) => failure === undefined);
      const steps = (sound.length > 0 ? sound : kept).map(({ snapshot }) => snapshot.step);
      this.post({ event: "saved", step: Math.min(...steps), milliseconds: performance.now() - begun, again });
    } catch (error) {
      // A browser may keep no files (private windows, a full disk): training goes on all the same.
      this.written.clear();
      this.post({ event: "unsaved", message: messageOf(error) });
    }
  }
}
