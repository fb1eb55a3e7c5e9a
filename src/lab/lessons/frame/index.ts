// The lessons in their order: each is a file of this folder, loaded when it is first shown.
import type { Lesson } from "./lesson.tsx";

const FILES = import.meta.glob<{ default: Lesson }>("../*.tsx");

export interface LessonEntry {
  readonly name: string;
  readonly title: string;
  /** What it shows, in a line. */
  readonly line: string;
  readonly minutes: number;
}
export const LESSONS: readonly LessonEntry[] = [
  { name: "a-state", title: "A state", line: "Why reading needs a memory", minutes: 2 },
  { name: "embeddings", title: "From one-hot to embeddings", line: "Letters that behave alike move together", minutes: 2 },
  { name: "back-through-time", title: "Back through time", line: "How an error finds its cause", minutes: 3 },
  { name: "vanishing", title: "Why the gradient vanishes", line: "And how it explodes instead", minutes: 2 },
  { name: "gate", title: "The gate", line: "Keep, or take in: the GRU, by hand", minutes: 3 },
  { name: "cell", title: "The cell", line: "Write, keep, read: the LSTM, by hand", minutes: 3 },
  { name: "memory", title: "What it remembers", line: "One network against another", minutes: 2 },
  { name: "parallel", title: "Parallel in time", line: "All steps at once, and what that costs", minutes: 3 },
];

export const loadLesson = async (name: string): Promise<Lesson> => (await FILES[`../${name}.tsx`]!()).default;
