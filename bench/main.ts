import { mountBench } from "./page.ts";

mountBench(document.getElementById("bench")!);
