// What a view of a model is: a title, a few sentences, the equation that it shows, and its drawing.
import type { ComponentChildren, ComponentType } from "preact";
import type { DeviceInfo, ModelSnapshot, Result } from "../protocol.ts";

export interface ViewProps {
  /** The models of the run, as they are now. */
  readonly snapshots: readonly ModelSnapshot[];
  /** The one that is looked at. */
  readonly chosen: number;
  /** A piece of the run's text, or of the visitor's own. */
  readonly passage: string;
  /** A longer piece of the run's text, from the same place. */
  readonly book: string;
  /** The lab's device, once it is there. */
  readonly device: DeviceInfo | undefined;
  /** Times a chain and a scan of T steps on it, in this order. */
  readonly clock: (T: number) => Promise<Result<{ readonly milliseconds: readonly number[] }>>;
}

export interface View {
  readonly title: string;
  readonly intro: ComponentChildren;
  readonly equation: ComponentChildren;
  /** What of the text it shows, and so which choices it needs. */
  readonly uses: "passage" | "book" | "nothing";
  /** Whether it shows all models side by side, and not a chosen one. */
  readonly showsAll?: boolean;
  /** Whether what it shows of a model with several layers is the top one. */
  readonly topLayer?: boolean;
  /** Whether there is something to see before any model is there. */
  readonly alone?: boolean;
  readonly Content: ComponentType<ViewProps>;
}
