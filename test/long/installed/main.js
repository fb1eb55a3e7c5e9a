import { train } from "./train.js";

// A page keeps what came, and so does its worker, which a bundler makes a file of its own; else it is printed.
if (globalThis.document) {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  const ofWorker = new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
  globalThis.outcome = Promise.all([train(), ofWorker]).then(([page, worker]) => ({ page, worker }));
} else console.log(JSON.stringify(await train()));
