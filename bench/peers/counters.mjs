// Counts the calls that a system makes of WebGPU, whichever system it is.
const METHODS = /** @type {const} */ ({
  dispatches: ["GPUComputePassEncoder", "dispatchWorkgroups"],
  indirect: ["GPUComputePassEncoder", "dispatchWorkgroupsIndirect"],
  submits: ["GPUQueue", "submit"],
  buffers: ["GPUDevice", "createBuffer"],
  bindGroups: ["GPUDevice", "createBindGroup"],
});

/** @type {Record<string, number>} */
export const counts = Object.fromEntries(Object.keys(METHODS).map((name) => [name, 0]));

/** Wraps WebGPU's methods; once, before any system asks for a device. */
export function countCalls() {
  for (const [name, [type, method]] of Object.entries(METHODS)) {
    const prototype = /** @type {any} */ (globalThis)[type]?.prototype;
    const original = prototype?.[method];
    if (!original) continue;
    prototype[method] = function (/** @type {unknown[]} */ ...args) {
      counts[name] = (counts[name] ?? 0) + 1;
      return original.apply(this, args);
    };
  }
}
