// Prints the WebGPU adapter of this process as one line of JSON; exits with 1 where there is none.
import { create } from "webgpu";

// Dawn crashes some processes when its instance is collected before they end.
const gpu = create([]);
Object.assign(globalThis, { gatewiseGpu: gpu });
const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
if (!adapter) process.exit(1);
const device = await adapter.requestDevice();
const { description, device: model, architecture, vendor, isFallbackAdapter } = adapter.info;
const name = /swiftshader/i.test(architecture)
  ? "SwiftShader"
  : description.startsWith("llvmpipe")
    ? "llvmpipe"
    : /^[^:]+/.exec(model || description)?.[0] || [vendor, architecture].filter(Boolean).join(" ");
console.log(JSON.stringify({ name, fallback: isFallbackAdapter }));
device.destroy();
process.exit(0);
