import { kindColours } from "../src/lab/kinds.ts";
import { mountBench } from "./page.ts";

document.adoptedStyleSheets.push(kindColours());
const bench = document.getElementById("bench")!;
// The sentence for where this script does not come.
bench.replaceChildren();
mountBench(bench);
