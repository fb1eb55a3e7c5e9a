// The bench page, mounted by bench/index.html and by the lab.
import { h, render } from "preact";
import { Bench } from "./view.tsx";

/** Draws the bench page into an element. */
export function mountBench(element: HTMLElement): void {
  render(h(Bench, {}), element);
}
