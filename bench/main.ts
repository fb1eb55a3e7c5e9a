import { mountBench } from "./page.ts";

const bench = document.getElementById("bench")!;
// The sentence for where this script does not come.
bench.replaceChildren();
mountBench(bench);
