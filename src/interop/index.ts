export { exportPyTorch, type PyTorchFiles } from "./pytorch.ts";
export { importTensors } from "./import.ts";
export type { ImportOptions } from "./place.ts";
export type { ModelFiles } from "./stored.ts";
export { fromTransformers, toTransformers, type TransformersFiles, type TransformersSource } from "./transformers.ts";
