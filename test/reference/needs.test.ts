// What Gatewise needs of a device: no less than its shaders use, no more.
import { afterEach, expect, it } from "vitest";
import { LanguageModel } from "../../src/models/language-model.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import { NEEDED_LIMITS } from "../../src/runtime/adapter.ts";
import { CpuDevice } from "../../src/runtime/cpu-device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { assembleShader } from "../../src/runtime/shader.ts";
import { allEntries } from "../../src/training/kernel-list.ts";

/** Value of an expression of WGSL made of numbers, + and *, and names of constants. */
function valueOf(expression: string, code: string): number {
  const numbers = expression.replaceAll(/[A-Z][A-Z_0-9]*/g, (name) => {
    const found = new RegExp(`^const ${name}(?:: u32)? = ([^;]+);`, "m").exec(code);
    if (!found) throw new Error(`no constant ${name}`);
    return `(${valueOf(found[1]!, code)})`;
  });
  return Function(`return ${numbers.replaceAll(/(\d)u\b/g, "$1")}`)() as number;
}

it("the limits that devices are checked for are those of the largest workgroup among all kernels and variants", () => {
  const most = { x: 0, y: 0, invocations: 0, bindings: 0 };
  for (const [, entry] of allEntries())
    for (const variant of entry.variants) {
      const code = assembleShader(entry, variant);
      const name = variant.entryPoint ?? entry.name;
      const size = new RegExp(`@workgroup_size\\(([^)]+)\\)\\s*fn ${name}\\(`).exec(code);
      const [x = 1, y = 1] = size![1]!.split(",").map((each) => valueOf(each, code));
      most.x = Math.max(most.x, x);
      most.y = Math.max(most.y, y);
      most.invocations = Math.max(most.invocations, x * y);
      most.bindings = Math.max(most.bindings, Object.keys(entry.bindings).length);
    }
  // Kernels may bind eight tensors, whether one of them does or not.
  expect(most.bindings).toBeLessThanOrEqual(NEEDED_LIMITS.maxStorageBuffersPerShaderStage);
  expect(most).toMatchObject({
    x: NEEDED_LIMITS.maxComputeWorkgroupSizeX,
    y: NEEDED_LIMITS.maxComputeWorkgroupSizeY,
    invocations: NEEDED_LIMITS.maxComputeInvocationsPerWorkgroup,
  });
});

/** A device that binds at most 1 MiB. */
const small = (): CpuDevice => Object.assign(new CpuDevice(), { maxTensorBytes: 2 ** 20 });

it("a model too large for a buffer is told how large its vocabulary, embedding and hidden size may be", () => {
  const device = small();
  const config = { cell: "rnn", vocabSize: 100, embeddingSize: 64, hiddenSize: 1000 } as const;
  const create = (options: object): LanguageModel => LanguageModel.create(device, { ...config, ...options });
  expect(() => create({})).toThrow(
    /^LanguageModel.create: the parameters of vocabSize 100, embeddingSize 64, hiddenSize 1000 need 4\.\d MiB, but this adapter binds at most 1\.0 MiB; with the others as they are, hiddenSize at most (\d+)$/,
  );
  let message = "";
  try {
    create({});
  } catch (error) {
    expect(error).toMatchObject({ code: "E_LIMIT" });
    message = (error as Error).message;
  }
  const hiddenSize = Number(/hiddenSize at most (\d+)/.exec(message)![1]);
  create({ hiddenSize }).dispose();
  expect(() => create({ hiddenSize: hiddenSize + 1 })).toThrow(/at most/);
  // Here any of the three may be what is too large.
  expect(() => create({ vocabSize: 2000, hiddenSize: 100 })).toThrow(
    /vocabSize at most \d+, or embeddingSize at most \d+, or hiddenSize at most \d+$/,
  );
  expect(() => create({ vocabSize: 65536, hiddenSize: 4096 })).toThrow(/make all of these smaller$/);
});

it("a layer too large for a buffer is told how large its input and hidden size may be", () => {
  const create = (): Recurrent => Recurrent.create(small(), { cell: "lstm", inputSize: 3, hiddenSize: 1000 });
  expect(create).toThrow(/^Recurrent.create: the parameters of inputSize 3, hiddenSize 1000 need .* hiddenSize at most \d+$/);
});

const secure = Object.getOwnPropertyDescriptor(globalThis, "isSecureContext");
afterEach(() => {
  if (secure) Object.defineProperty(globalThis, "isSecureContext", secure);
  else Reflect.deleteProperty(globalThis, "isSecureContext");
});

it("a page whose address is not secure is told so, and not to take another browser", async () => {
  await expect(openDevice({ prefer: "webgpu" })).rejects.toThrow(/^no WebGPU here: use a browser/);
  Object.defineProperty(globalThis, "isSecureContext", { value: false, configurable: true });
  await expect(openDevice({ prefer: "webgpu" })).rejects.toMatchObject({ code: "E_NO_WEBGPU" });
  await expect(openDevice({ prefer: "webgpu" })).rejects.toThrow(/address is not a secure one.*https, or from localhost/);
  await expect(openDevice({ prefer: "webgpu" })).rejects.not.toThrow(/Chrome/);
});
