// One system in a process of its own, in Node: the parent (run.mjs) sets it up and gives it turns.
import { create, globals } from "webgpu";
import { countCalls, counts } from "./counters.mjs";
import { timeSteps } from "./task.mjs";

Object.assign(globalThis, globals);
const gpu = create([]);
// Dawn's instance must outlive the process's last use of it.
Object.assign(globalThis, { keptGpu: gpu });
Object.defineProperty(globalThis, "navigator", { configurable: true, value: { gpu, userAgent: "Node" } });
countCalls();
acceptSharedMemory();

/** @type {import("./task.mjs").System | undefined} */
let system;
let done = 0;

process.on("message", async (/** @type {any} */ message) => {
  try {
    if (message.type === "setup") {
      const { setup } = await import(`./systems/${message.system}.mjs`);
      system = await setup(message.task, message.options);
      process.send?.({ type: "ready" });
    } else if (message.type === "run") {
      process.send?.({ type: "ran", ...(await runSteps(message.steps)) });
    }
  } catch (error) {
    process.send?.({ type: "failed", reason: error instanceof Error ? error.message : String(error) });
  }
});
process.on("disconnect", () => process.exit());

/** ONNX Runtime's memory is shared between threads, and Dawn in Node wants plain memory: hand it a copy. */
function acceptSharedMemory() {
  const prototype = /** @type {any} */ (globalThis).GPUQueue.prototype;
  const { writeBuffer } = prototype;
  prototype.writeBuffer = function (
    /** @type {any} */ buffer,
    /** @type {number} */ to,
    /** @type {any} */ data,
    /** @type {any[]} */ ...rest
  ) {
    const shared = (data.buffer ?? data) instanceof SharedArrayBuffer;
    return writeBuffer.call(this, buffer, to, shared ? data.slice() : data, ...rest);
  };
}

/** @param {number} steps */
async function runSteps(steps) {
  if (!system) throw new Error("not set up");
  const before = { ...counts };
  const { times, values } = await timeSteps(system, done, steps);
  done += steps;
  const perStep = Object.fromEntries(
    Object.keys(counts).map((name) => [name, ((counts[name] ?? 0) - (before[name] ?? 0)) / steps]),
  );
  return { times, values, perStep };
}
