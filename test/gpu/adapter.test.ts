import { afterAll, beforeAll, expect, test } from "vitest";
import { testAdapter } from "./device.ts";

let adapter: GPUAdapter;
let device: GPUDevice;

beforeAll(async () => {
  adapter = await testAdapter();
  device = await adapter.requestDevice();
});

afterAll(() => device.destroy());

test("an adapter is found and tells its name", () => {
  const { vendor, architecture, description } = adapter.info;
  console.log(`adapter: ${description || `${vendor} ${architecture}`}`);
  expect(vendor + architecture).not.toBe("");
});

test("a compute shader writes what the host reads back", async () => {
  // The WebGPU constants are globals in browsers only: STORAGE | COPY_SRC, COPY_DST | MAP_READ, MapMode.READ.
  const [storage, readback, read] = [0x80 | 0x04, 0x08 | 0x01, 1];
  const count = 70;
  const module = device.createShaderModule({
    code: /* wgsl */ `
      @group(0) @binding(0) var<storage, read_write> squares: array<f32>;

      @compute @workgroup_size(16)
      fn main(@builtin(global_invocation_id) id: vec3u) {
        if (id.x < arrayLength(&squares)) {
          squares[id.x] = f32(id.x * id.x) + 0.5;
        }
      }`,
  });
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
  const result = device.createBuffer({ size: 4 * count, usage: storage });
  const copy = device.createBuffer({ size: 4 * count, usage: readback });

  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(
    0,
    device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer: result } }] }),
  );
  pass.dispatchWorkgroups(Math.ceil(count / 16));
  pass.end();
  encoder.copyBufferToBuffer(result, 0, copy, 0, 4 * count);
  device.queue.submit([encoder.finish()]);

  await copy.mapAsync(read);
  expect([...new Float32Array(copy.getMappedRange())]).toEqual(Array.from({ length: count }, (_, i) => i * i + 0.5));
});
