// WebGPU's types as the public declarations have them: those of TypeScript's DOM library or of @webgpu/types, where a
// program has one of them, and none where it has not, which is no error there.

/** A `GPUDevice`. */
export type GpuDevice = typeof globalThis extends { readonly GPUDevice: { readonly prototype: infer T } } ? T : unknown;
/** A `GPU`, as `navigator.gpu` is. */
export type Gpu = typeof globalThis extends { readonly GPU: { readonly prototype: infer T } } ? T : unknown;
