// What a file is that was taken for a .safetensors file, by its first bytes, and what to do with it.
// oxlint-disable no-control-regex -- these are bytes
import { shown } from "../checks.ts";

const OF_PYTORCH =
  "PyTorch makes a .safetensors file of its state dict: python3 -c 'import torch; from safetensors.torch import save_file; " +
  'd = torch.load("FILE", map_location="cpu", weights_only=True); d = d.get("state_dict", d); ' +
  'save_file({k: v.contiguous().clone() for k, v in d.items()}, "model.safetensors")\' ' +
  "(of a whole module, saved with its class: save its state_dict() where it was made)";
const OF_NUMPY =
  "NumPy makes a .safetensors file of it: python3 -c 'import numpy; from safetensors.numpy import save_file; " +
  'save_file(dict(numpy.load("FILE")), "model.safetensors")\'';
const OF_OTHERS = "it cannot be read yet; load it where it was made, and save its tensors with safetensors' save_file";

/** The first that fits counts. A character of the beginning is a byte; a ZIP's first name begins at its 30th. Four
 * zeros at the fifth are those of a header's length, of a .safetensors file that was cut short. */
const KINDS: readonly (readonly [begins: RegExp, kind: string, advice: string])[] = [
  [/^PK\x03\x04[^]{26}[^/]{1,200}\/(?:data\.pkl|\.format_version|byteorder)/, "a file of torch.save", OF_PYTORCH],
  [/^PK\x03\x04[^]{26}(?:metadata\.json|config\.json|model\.weights\.h5)/, "a Keras model", OF_OTHERS],
  [/^PK\x03\x04[^]{26}[^]{1,200}?\.npy/, "a NumPy archive", OF_NUMPY],
  [/^PK\x03\x04/, "a ZIP archive, as PyTorch's .pt files are", OF_PYTORCH],
  [/^\x80(?:[\x04\x05]\x95|[\x02\x03](?![^]{2}\0{4}))/, "a Python pickle, as older .pt, .pth and .bin files are", OF_PYTORCH],
  [/^\x89HDF\r\n\x1a\n/, "an HDF5 file, as Keras writes", OF_OTHERS],
  [/^\x93NUMPY/, "a NumPy array", OF_NUMPY],
  [/^\x08\x01\x12(?![^]\0{4})/, "a TensorFlow SavedModel", OF_OTHERS],
  [/^\x08[\x02-\x1f][\x12\x1a"2:B](?![^]\0{4})/, "an ONNX model", OF_OTHERS],
  [
    /^\s*\{[^]*"weight_map"/,
    "the index of a model in several files, and holds no tensors itself",
    "gatewise import reads it with the files that it names",
  ],
  [/^\s*\{[^]*"(?:modelTopology|weightsManifest)"/, "a TensorFlow.js model", OF_OTHERS],
];

/** Bytes that tell what a file is. */
const BEGINNING = 2048;

/** "this is …; …", of a file that is known. */
export function otherKind(bytes: Uint8Array): string | undefined {
  const begin = String.fromCharCode(...bytes.subarray(0, BEGINNING));
  const [, kind, advice] = KINDS.find(([begins]) => begins.test(begin)) ?? [];
  if (kind) return `this is ${kind}; ${advice}`;
  if (/^[\t\n\r\x20-\x7e]{8}/.test(begin))
    return `it begins with the text ${shown(begin.slice(0, 24))}; this is some other kind of file`;
  return undefined;
}
