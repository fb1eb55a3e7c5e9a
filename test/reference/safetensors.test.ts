// The safetensors format, as https://github.com/huggingface/safetensors describes it.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  ALL_DTYPES,
  readSafetensors,
  writeSafetensors,
  readHeader,
  type NamedTensor,
  type Safetensors,
} from "../../src/training/safetensors.ts";

const isBad = expect.objectContaining({ name: "GatewiseError", code: "E_BAD_CHECKPOINT" });

const anyTensor = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 3 }).chain((shape) => {
  const size = shape.reduce((a, b) => a * b, 1);
  return fc.float32Array({ minLength: size, maxLength: size }).map((data): NamedTensor => ({ shape, data }));
});
const anyName = fc.string({ unit: "grapheme" }).filter((name) => name !== "__metadata__" && name !== "__proto__");
const anyFile: fc.Arbitrary<Safetensors> = fc.record({
  tensors: fc.dictionary(anyName, anyTensor, { noNullPrototype: true, maxKeys: 5 }),
  metadata: fc.dictionary(anyName, fc.string({ unit: "grapheme" }), { noNullPrototype: true, maxKeys: 5 }),
});

/** A file of this header, right or wrong, with `size` bytes of tensors behind it. */
function fileOf(header: string | Uint8Array, size = 0, length?: number): Uint8Array {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(8 + json.length + size);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length ?? json.length), true);
  bytes.set(json, 8);
  return bytes;
}

/** Reads a file as Python's reader does, with its checks, and nothing of the code under test. */
function readBySpecification(bytes: Uint8Array): {
  metadata: unknown;
  tensors: Record<string, { shape: number[]; bits: number[] }>;
} {
  const buffer = Buffer.from(bytes);
  const headerLength = Number(buffer.readBigUInt64LE(0));
  const text = buffer.toString("utf8", 8, 8 + headerLength);
  expect(text[0]).toBe("{");
  expect(headerLength % 8).toBe(0);
  const { __metadata__: metadata, ...entries } = JSON.parse(text) as Record<string, any>;
  const data = buffer.subarray(8 + headerLength);
  let end = 0;
  const tensors: Record<string, { shape: number[]; bits: number[] }> = {};
  // In the order of their places the tensors must cover every byte once: no holes, no overlaps.
  for (const [name, entry] of Object.entries(entries).sort(([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0])) {
    const { dtype, shape, data_offsets: offsets, ...rest } = entry;
    expect(rest).toEqual({});
    expect(dtype).toBe("F32");
    expect(offsets[0]).toBe(end);
    const bits: number[] = [];
    for (let at = offsets[0]; at < offsets[1]; at += 4) bits.push(data.readUInt32LE(at));
    expect(bits).toHaveLength(shape.reduce((a: number, b: number) => a * b, 1));
    tensors[name] = { shape, bits };
    end = offsets[1];
  }
  expect(end).toBe(data.length);
  return { metadata, tensors };
}

const bitsOf = (data: Float32Array): number[] => [...new Uint32Array(data.slice().buffer)];

describe("an encoded file", () => {
  it("decodes to what was put in, bit for bit, wherever in memory its bytes lie", () => {
    fc.assert(
      fc.property(anyFile, fc.integer({ min: 0, max: 7 }), ({ tensors, metadata }, offset) => {
        const bytes = writeSafetensors({ tensors, metadata });
        const shifted = new Uint8Array(bytes.length + offset + 1);
        shifted.set(bytes, offset);
        // Node's readFile gives a Buffer, whose slice is a view of the same memory.
        for (const given of [bytes, shifted.subarray(offset, offset + bytes.length), Buffer.from(bytes)]) {
          const decoded = readSafetensors(given);
          expect(decoded.metadata).toEqual(metadata);
          expect(Object.keys(decoded.tensors).sort()).toEqual(Object.keys(tensors).sort());
          for (const [name, { shape, data }] of Object.entries(tensors)) {
            expect(decoded.tensors[name]!.shape).toEqual(shape);
            expect(bitsOf(decoded.tensors[name]!.data)).toEqual(bitsOf(data));
          }
        }
      }),
    );
  });

  it("is one that a reader made from the specification alone reads the same", () => {
    fc.assert(
      fc.property(anyFile, ({ tensors, metadata }) => {
        const read = readBySpecification(writeSafetensors({ tensors, metadata }));
        expect(read.metadata).toEqual(metadata);
        expect(read.tensors).toEqual(
          Object.fromEntries(Object.entries(tensors).map(([name, { shape, data }]) => [name, { shape, bits: bitsOf(data) }])),
        );
      }),
    );
  });

  it("has its tensors at a multiple of eight bytes, behind a header of JSON and spaces", () => {
    for (let length = 0; length < 9; length++) {
      const bytes = writeSafetensors({
        tensors: { a: { shape: [2], data: Float32Array.of(1, -2) } },
        metadata: { k: "x".repeat(length) },
      });
      const headerLength = new DataView(bytes.buffer).getUint32(0, true);
      expect(headerLength % 8).toBe(0);
      const header = new TextDecoder().decode(bytes.subarray(8, 8 + headerLength));
      expect(header).toMatch(/^\{.*\} {0,7}$/);
      expect([...bytes.subarray(8 + headerLength)]).toEqual([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
    }
  });

  it("keeps NaN, infinities, negative zero and the smallest numbers", () => {
    const data = Float32Array.of(NaN, Infinity, -Infinity, -0, 1e-45, 3.4028234663852886e38);
    const { a } = readSafetensors(writeSafetensors({ tensors: { a: { shape: [6], data } }, metadata: {} })).tensors;
    expect(bitsOf(a!.data)).toEqual(bitsOf(data));
  });

  it("takes only its own part of the memory that a tensor's values share with others", () => {
    const whole = Float32Array.of(1, 2, 3, 4);
    const bytes = writeSafetensors({ tensors: { a: { shape: [2], data: whole.subarray(1, 3) } }, metadata: {} });
    expect([...readSafetensors(bytes).tensors.a!.data]).toEqual([2, 3]);
    bytes.fill(0);
    expect([...whole]).toEqual([1, 2, 3, 4]);
  });

  it("is the same, byte for byte, for the same tensors and metadata", () => {
    const make = () =>
      writeSafetensors({
        tensors: { b: { shape: [1], data: Float32Array.of(1) }, a: { shape: [], data: Float32Array.of(2) } },
        metadata: { z: "1", y: "2" },
      });
    expect(make()).toEqual(make());
    expect(Object.keys(readSafetensors(make()).tensors)).toEqual(["b", "a"]);
  });
});

it("numbers in other formats become the nearest float32", () => {
  const tensors: Record<string, { values: [bits: number | bigint, value: number][]; size: number }> = {
    F64: {
      size: 8,
      values: [
        [0x3fb999999999999an, 0.10000000149011612],
        [0xc000000000000000n, -2],
        [0x7e37e43c8800759cn, Infinity],
      ],
    },
    F16: {
      size: 2,
      values: [
        [0x3c00, 1],
        [0xc000, -2],
        [0x7bff, 65504],
        [0x0001, 5.960464477539063e-8],
        [0x7c00, Infinity],
      ],
    },
    BF16: {
      size: 2,
      values: [
        [0x3f80, 1],
        [0xc049, -3.140625],
        [0xff80, -Infinity],
      ],
    },
    F32: {
      size: 4,
      values: [
        [0x3f800000, 1],
        [0x80000000, -0],
      ],
    },
  };
  expect(Object.keys(tensors).sort()).toEqual([...ALL_DTYPES].sort());
  let at = 0;
  const header: Record<string, object> = {};
  for (const [dtype, { values, size }] of Object.entries(tensors)) {
    header[dtype] = { dtype, shape: [values.length], data_offsets: [at, at + size * values.length] };
    at += size * values.length;
  }
  const file = Buffer.from(fileOf(JSON.stringify(header), at));
  at = file.length - at;
  for (const { values, size } of Object.values(tensors))
    for (const [bits] of values) {
      if (typeof bits === "bigint") file.writeBigUInt64LE(bits, at);
      else file.writeUIntLE(bits, at, size);
      at += size;
    }
  const read = readSafetensors(file).tensors;
  for (const [dtype, { values }] of Object.entries(tensors))
    expect([...read[dtype]!.data], dtype).toEqual(values.map(([, value]) => value));
  expect(() => readHeader(file, ["F32", "F16"])).toThrow('tensor "F64" is F64, only F32, F16 is read');
  expect(() => readHeader(fileOf('{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,4]}}', 4), ALL_DTYPES)).toThrow(
    'tensor "a" [1] should have 8 bytes, has 4',
  );
});

describe("a file of another kind is told by its first bytes, with what to do:", () => {
  const latin = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));
  const zip = (name: string): Uint8Array => latin(`PK\x03\x04${"\0".repeat(22)}${String.fromCharCode(name.length)}\0\0\0${name}`);
  const inPython = "python3 -c 'import torch; ";
  // As torch 2.13, NumPy 2.4, Keras 3, ONNX and TensorFlow.js begin their files.
  const cases: [kind: string, file: Uint8Array, advice: string][] = [
    ["a file of torch.save", zip("archive/data.pkl"), inPython],
    ["a Python pickle", latin("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."), inPython],
    ["a Python pickle", latin("\x80\x04\x95\n\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s."), inPython],
    ["a Keras model", zip("metadata.json"), "it cannot be read yet"],
    ["an HDF5 file, as Keras writes", latin("\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0"), "it cannot be read yet"],
    ["a NumPy archive", zip("weight_ih_l0.npy"), "safetensors.numpy"],
    ["a NumPy array", latin("\x93NUMPY\x01\0v\0{'descr': '<f8'"), "safetensors.numpy"],
    ["an ONNX model", latin("\x08\x08\x12\x07pytorch\x1a\x052.1.0:\xd1\x01"), "it cannot be read yet"],
    ["a TensorFlow SavedModel", latin("\x08\x01\x12\xf4\xa5\x01\n\xbf\x16"), "it cannot be read yet"],
    [
      "a TensorFlow.js model",
      latin('{"format": "layers-model", "modelTopology": {"class_name": "Sequential"}, "weightsManifest": []}'),
      "it cannot be read yet",
    ],
    ["the index of a model in several files", latin('{"metadata": {}, "weight_map": {}}'), "gatewise import reads it"],
  ];
  it.each(cases)("%s", (kind, file, advice) => {
    const message = expect.stringContaining(`not a whole .safetensors file: this is ${kind}`);
    const error = expect.objectContaining({ code: "E_BAD_CHECKPOINT", message });
    expect(() => readSafetensors(file)).toThrow(error);
    expect(() => readSafetensors(file)).toThrow(advice);
  });

  it("and a file that was cut short is taken for none of them", () => {
    for (const length of [0x0280, 0x120108, 0x1a0708, 0x20202020 % 100_000_000])
      expect(() => readSafetensors(fileOf("{", 0, length)), String(length)).toThrow("cut short: the header needs");
  });
});

describe("a damaged file", () => {
  const bytes = writeSafetensors({
    tensors: {
      "rnn.weight": { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
      empty: { shape: [0, 3], data: new Float32Array(0) },
      scalar: { shape: [], data: Float32Array.of(7) },
    },
    metadata: { k: "v", é: "😀" },
  });
  const headerEnd = 8 + new DataView(bytes.buffer).getUint32(0, true);

  it("cut short at any byte is refused", () => {
    for (let length = 0; length < bytes.length; length++) {
      expect(() => readSafetensors(bytes.subarray(0, length)), `${length} bytes`).toThrow(isBad);
      // Bytes beyond the view's end must not count, nor a copy of it differ.
      expect(() => readSafetensors(bytes.slice(0, length)), `${length} bytes`).toThrow(isBad);
    }
    expect(() => readSafetensors(bytes.subarray(0, 7))).toThrow("7 bytes, at least 8 expected");
    expect(() => readSafetensors(bytes.subarray(0, headerEnd - 1))).toThrow("cut short: the header needs");
    expect(() => readSafetensors(bytes.subarray(0, bytes.length - 1))).toThrow(
      `cut short: tensor "scalar" ends at byte ${bytes.length}, the file at ${bytes.length - 1}`,
    );
  });

  it("with any one byte of its header changed is read or refused, never worse", () => {
    for (let at = 0; at < headerEnd; at++) {
      for (const value of [0, 0x20, 0x22, 0x2c, 0x2d, 0x30, 0x39, 0x5d, 0x65, 0x7b, 0x7d, 0xff, bytes[at]! ^ 1]) {
        const changed = bytes.slice();
        changed[at] = value;
        readOrRefuse(changed);
      }
    }
  });

  it("with many bytes of its header changed is read or refused, never worse", () => {
    const change = fc.tuple(fc.integer({ min: 0, max: headerEnd - 1 }), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
        const changed = bytes.slice();
        for (const [at, value] of changes) changed[at] = value;
        readOrRefuse(changed);
      }),
      { numRuns: 1000 },
    );
  });

  it("with any JSON for a header is read or refused, never worse", () => {
    const number = fc.oneof(fc.integer({ min: -1, max: 9 }), fc.constantFrom(1e300, 2 ** 53, 4294967296, 0.5, -0, null, "4"));
    const entry = fc.record({
      dtype: fc.constantFrom("F32", "F16", "I64", 32),
      shape: fc.oneof(fc.array(number), fc.jsonValue()),
      data_offsets: fc.oneof(fc.array(number, { minLength: 2, maxLength: 2 }), fc.jsonValue()),
    });
    const header = fc.oneof(fc.jsonValue(), fc.dictionary(fc.string(), fc.oneof(entry, fc.jsonValue())));
    fc.assert(
      fc.property(header, (value) => readOrRefuse(fileOf(JSON.stringify(value), 16))),
      { numRuns: 1000 },
    );
  });

  function readOrRefuse(changed: Uint8Array): void {
    let decoded: Safetensors;
    try {
      decoded = readSafetensors(changed);
    } catch (error) {
      expect(error).toEqual(isBad);
      return;
    }
    for (const { shape, data } of Object.values(decoded.tensors)) expect(data).toHaveLength(shape.reduce((a, b) => a * b, 1));
    for (const text of Object.values(decoded.metadata)) expect(text).toBeTypeOf("string");
  }

  const tensor = (fields: object): string => JSON.stringify({ a: { dtype: "F32", shape: [2], data_offsets: [0, 8], ...fields } });
  /** Deeper than any stack: to go through it by recursion is a RangeError. */
  const deep = "[".repeat(20_000) + "]".repeat(20_000);
  const cases: [name: string, file: Uint8Array, message: string][] = [
    ["some text", new TextEncoder().encode("Alice was beginning to get very tired"), "this is some other kind of file"],
    ["a header longer than the format allows", fileOf("{}", 0, 100_000_001), "its header claims 100000001 bytes"],
    ["a header longer than numbers go", fileOf("{}").fill(0xff, 0, 8), "this is some other kind of file"],
    ["a header that is no JSON", fileOf("{'a': 1}"), "its header is not JSON"],
    ["a header that is no UTF-8", fileOf(Uint8Array.of(0x22, 0xff, 0x22)), "its header is not JSON"],
    ["an array for a header", fileOf("[]"), "its header is no object"],
    ["a number for a header", fileOf("5"), "its header is no object"],
    ["a text for a header", fileOf('"ab"'), "its header is no object"],
    ["null for a header", fileOf("null"), "its header is no object"],
    ["half precision", fileOf(tensor({ dtype: "F16", data_offsets: [0, 4] }), 8), 'tensor "a" is F16, only F32 is read'],
    ["no dtype", fileOf(tensor({ dtype: undefined }), 8), 'tensor "a" is undefined, only F32 is read'],
    ["null for a tensor", fileOf('{"a":null}'), 'tensor "a" is undefined'],
    ["no shape", fileOf(tensor({ shape: undefined }), 8), 'tensor "a" has no valid shape and place'],
    ["a negative axis", fileOf(tensor({ shape: [-2] }), 8), 'tensor "a" has no valid shape and place'],
    ["three offsets", fileOf(tensor({ data_offsets: [0, 8, 8] }), 8), 'tensor "a" has no valid shape and place'],
    ["fewer bytes than the shape takes", fileOf(tensor({ shape: [3] }), 8), 'tensor "a" [3] should have 12 bytes, has 8'],
    ["offsets the wrong way round", fileOf(tensor({ data_offsets: [8, 0] }), 8), 'tensor "a" [2] should have 8 bytes, has -8'],
    [
      "a hole before a tensor",
      fileOf(tensor({ data_offsets: [4, 12] }), 12),
      'tensor "a" begins at byte 4 of the data, not at 0',
    ],
    [
      "two tensors in one place",
      fileOf(
        JSON.stringify(Object.fromEntries(["a", "b"].map((n) => [n, { dtype: "F32", shape: [1], data_offsets: [0, 4] }]))),
        4,
      ),
      'tensor "b" begins at byte 0 of the data, not at 4',
    ],
    ["bytes after the last tensor", fileOf(tensor({}), 12), "4 bytes follow the last tensor"],
    [
      "a name twice",
      fileOf('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
      'its header has the name "a" twice',
    ],
    [
      "a name twice, once written in another way",
      fileOf(
        '{"a\\"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061\\u0022":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        8,
      ),
      'its header has the name "a\\"" twice',
    ],
    ["metadata twice", fileOf('{"__metadata__":{"k":"v"},"__metadata__":{}}'), 'its header has the name "__metadata__" twice'],
    ["one key of the metadata twice", fileOf('{"__metadata__":{"k":"v","x":"\\\\","k":"w"}}'), 'the name "k" twice'],
    [
      "a shape twice",
      fileOf('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4],"shape":[1]}}', 4),
      'its header has the name "shape" twice',
    ],
    ["a number in the metadata", fileOf('{"__metadata__":{"k":1}}'), 'its metadata must be strings, "k" is 1'],
    ["an object in the metadata", fileOf('{"__metadata__":{"k":{"toString":1}}}'), '"k" is an object'],
    ["nesting in the metadata", fileOf(`{"__metadata__":{"k":${deep}}}`), "its header is nested deeper than 16 levels"],
    ["a list for metadata", fileOf('{"__metadata__":["k"]}'), "its __metadata__ must be an object, got an array of 1"],
    ["null for metadata", fileOf('{"__metadata__":null}'), "its __metadata__ must be an object, got null"],
    ["an object for a dtype", fileOf('{"a":{"dtype":{"valueOf":1}}}'), 'tensor "a" is an object, only F32 is read'],
    ["nesting for a dtype", fileOf(`{"a":{"dtype":${deep}}}`), "its header is nested deeper than 16 levels"],
    [
      "nesting for a shape",
      fileOf(`{"a":{"dtype":"F32","shape":${deep},"data_offsets":[0,4]}}`, 4),
      "its header is nested deeper than 16 levels",
    ],
    [
      "eight axes",
      fileOf(tensor({ shape: Array(8).fill(1) }), 8),
      'tensor "a" [1, 1, 1, 1, 1, 1, 1, 1] should have 4 bytes, has 8',
    ],
    ["nine axes", fileOf(tensor({ shape: Array(9).fill(1) }), 8), 'tensor "a" of 9 axes should have 4 bytes, has 8'],
    [
      "an endless shape",
      fileOf(tensor({ shape: Array(20000).fill(2) }), 8),
      'tensor "a" of 20000 axes should have Infinity bytes',
    ],
    [
      "the index of a model in several files",
      new TextEncoder().encode(
        '{\n  "metadata": {"total_size": 4},\n  "weight_map": {"a": "model-00001-of-00002.safetensors"}\n}\n',
      ),
      "not a whole .safetensors file: this is the index of a model in several files, and holds no tensors itself",
    ],
    [
      "PyTorch's own format",
      Uint8Array.of(0x50, 0x4b, 3, 4, 0, 0, 8, 8, 0, 0),
      "not a whole .safetensors file: this is a ZIP archive, as PyTorch's .pt files are",
    ],
    [
      "other JSON",
      new TextEncoder().encode('{\n  "format": "gatewise-run"\n}\n'),
      'it begins with the text "{\\n  \\"format\\": \\"gatewise-"; this is some other kind of file',
    ],
    ["a byte order mark", fileOf("\ufeff" + tensor({}), 8), "not a .safetensors file: its header is not JSON"],
    ["a place past the end", fileOf(tensor({ data_offsets: [4, 12] }), 8), 'cut short: tensor "a" ends at byte'],
  ];
  it("may use the names of JavaScript's own objects: they are names like others", () => {
    const tensor = Object.fromEntries([["__proto__", { shape: [1], data: Float32Array.of(7) }]]);
    expect(Object.entries(readSafetensors(writeSafetensors({ tensors: tensor })).tensors)).toEqual(Object.entries(tensor));
    const header =
      '{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{"__proto__":"x","constructor":"y"}}';
    const { tensors, metadata } = readSafetensors(fileOf(header, 4));
    expect(Object.keys(tensors)).toEqual(["__proto__"]);
    expect(Object.entries(metadata)).toEqual([
      ["__proto__", "x"],
      ["constructor", "y"],
    ]);
  });

  it("has a name twice only within one object", () => {
    const entry = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}';
    const header = `{"a":${entry},"b":${entry},"__metadata__":{"a":"{\\"a\\":1,\\"a\\":2}","b":"dtype"}}`;
    expect(Object.keys(readSafetensors(fileOf(header)).tensors)).toEqual(["a", "b"]);
  });

  for (const [name, file, message] of cases) {
    it(`is refused for its reason: ${name}`, () => {
      expect(() => readSafetensors(file)).toThrow(isBad);
      expect(() => readHeader(file)).toThrow(message);
    });
  }
});
