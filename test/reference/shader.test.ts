// How an entry point's WGSL is put together, and how a compiler's message finds its way back to the file.
import prelude from "../../shaders/prelude.wgsl?raw";
import { describe, expect, it } from "vitest";
import { lstm } from "../../src/kernels/lstm.ts";
import { sample } from "../../src/kernels/sample.ts";
import { defineKernel, entry, type Entry, type ShaderFile } from "../../src/runtime/kernel.ts";
import { assembleShader, describeShaderMessage } from "../../src/runtime/shader.ts";

/** A kernel of this source; a shader is all that it has. */
function entryOf(source: string, include: readonly ShaderFile[] = []): Entry {
  const nothing = entry({ params: {}, bindings: {}, workgroups: () => [1], work: () => 1, reference: () => {}, cases: () => [] });
  return defineKernel("mine", source, { forward: nothing }, include).forward as unknown as Entry;
}
const shared: ShaderFile = { name: "shared", source: "const ROWS: u32 = 8u;\nconst LANES: u32 = 4u;\nfn shared() {}\n" };
const mine = entryOf("const TILE: u32 = 16u;\nconst TILE_HEIGHT: u32 = 32u; // rows\nfn forward() {}\n", [shared]);
const isShaderError = expect.objectContaining({ code: "E_SHADER" });

describe("a shader", () => {
  it("is the prelude, the shared files and the kernel's own, in this order", () => {
    expect(assembleShader(mine, {})).toBe([prelude, shared.source, mine.files.at(-1)!.source].join("\n"));
    expect(lstm.forward.files.map(({ name }) => name)).toEqual(["recurrent", "sums", "steps", "steps-workgroup", "lstm"]);
  });

  it("has the variant's constants for the defaults, in whichever file they stand, and nothing else changed", () => {
    expect(assembleShader(mine, { constants: { TILE: 4, ROWS: 1 } })).toBe(
      assembleShader(mine, {})
        .replace("const TILE: u32 = 16u;", "const TILE: u32 = 4u;")
        .replace("ROWS: u32 = 8u", "ROWS: u32 = 1u"),
    );
    expect(assembleShader(mine, { constants: { TILE_HEIGHT: 7 } })).toContain(
      "const TILE: u32 = 16u;\nconst TILE_HEIGHT: u32 = 7u; // rows\n",
    );
  });

  it("keeps its lines where they were, so that messages can be placed", () => {
    const count = (code: string): number => code.split("\n").length;
    expect(count(assembleShader(mine, { constants: { TILE: 123456 } }))).toBe(count(assembleShader(mine, {})));
  });

  it("for subgroups says so on its first line and has other files in the place of some, also in messages", () => {
    const form = { subgroupSize: 8 };
    const shuffled = { ...shared, withSubgroups: { name: "shuffled", source: "fn shuffled() {}\n" } };
    const gone = { name: "gone", source: "fn gone() {}\n", withSubgroups: null };
    const entry = entryOf("fn forward() {}\n", [shuffled, gone]);
    expect(assembleShader(entry, {})).toBe([prelude, shared.source, gone.source, "fn forward() {}\n"].join("\n"));
    expect(assembleShader(entry, form)).toBe(
      `enable subgroups; ${[prelude, "fn shuffled() {}\n", "fn forward() {}\n"].join("\n")}`,
    );
    const first = prelude.split("\n").length + 1;
    const message = describeShaderMessage(entry, form, { lineNum: first, linePos: 4, message: "unresolved value 'x'" });
    expect(message).toMatch(/^shaders\/shuffled\.wgsl:1:4: /);
  });

  it("in half precision has f16 for the aliases that stand for it, all of them, and says so on its first line", () => {
    const entry = entryOf("alias A4 = vec4f;\nalias B4 = vec4f;\nalias C4 = vec4f;\nfn forward() {}\n");
    const halved = [prelude, "alias A4 = vec4<f16>;\nalias B4 = vec4f;\nalias C4 = vec4<f16>;\nfn forward() {}\n"].join("\n");
    expect(assembleShader(entry, {}, ["A4", "C4"])).toBe(`enable f16; ${halved}`);
    expect(assembleShader(entry, { subgroupSize: 8 }, ["A4", "C4"])).toBe(`enable f16; enable subgroups; ${halved}`);
  });

  it("that has no alias to stand for f16 is refused by the kernel's file and the alias's name", () => {
    const entry = entryOf("alias Known4 = vec4f;\nalias Vec3 = vec3f;\n");
    for (const name of ["None4", "Known", "Vec3"]) {
      expect(() => assembleShader(entry, {}, ["Known4", name])).toThrow(isShaderError);
      expect(() => assembleShader(entry, {}, ["Known4", name])).toThrow(`shaders/mine.wgsl has no line "alias ${name} = vec4f;"`);
    }
  });

  it("that has no line for a constant is refused by the kernel's file and the constant's name", () => {
    const without: [name: string, entry: Entry][] = [
      ["NONE", mine],
      ["TIL", mine],
      ["SIGNED", entryOf("const SIGNED: i32 = 1;\n")],
      ["INNER", entryOf("fn f() {\n  const INNER: u32 = 1u;\n}\n")],
      ["COMMENTED", entryOf("// const COMMENTED: u32 = 1u;\n")],
    ];
    for (const [name, entry] of without) {
      expect(() => assembleShader(entry, { constants: { [name]: 2 } })).toThrow(isShaderError);
      expect(() => assembleShader(entry, { constants: { [name]: 2 } })).toThrow(
        `shaders/mine.wgsl has no line "const ${name}: u32 = …u;"`,
      );
    }
  });
});

describe("a compiler's message", () => {
  const describeAt = (entry: Entry, lineNum: number, linePos = 9): string[] =>
    describeShaderMessage(entry, {}, { lineNum, linePos, message: "unresolved value 'x'" }).split("\n");

  it("is placed in the right file at the right line, for every line of a shader of three files", () => {
    const files = [{ name: "prelude", source: prelude }, ...lstm.forward.files];
    const entry = lstm.forward as unknown as Entry;
    const assembled = assembleShader(entry, {}).split("\n");
    let line = 0;
    for (const { name, source } of files) {
      source.split("\n").forEach((text, i) => {
        line++;
        const [place, ...around] = describeAt(entry, line);
        expect(place).toBe(`shaders/${name}.wgsl:${i + 1}:9: unresolved value 'x'`);
        expect(around.filter((l) => l.startsWith(">"))).toEqual([`> ${String(i + 1).padStart(4)} | ${text}`]);
        expect(assembled[line - 1]).toBe(text);
      });
    }
    expect(line).toBe(assembled.length);
  });

  it("shows two lines around its own, and none of another file", () => {
    const first = prelude.split("\n").length + 1;
    expect(describeAt(mine, first)).toEqual([
      "shaders/shared.wgsl:1:9: unresolved value 'x'",
      ">    1 | const ROWS: u32 = 8u;",
      "     2 | const LANES: u32 = 4u;",
      "     3 | fn shared() {}",
    ]);
    expect(describeAt(mine, first + 2)).toEqual([
      "shaders/shared.wgsl:3:9: unresolved value 'x'",
      "     1 | const ROWS: u32 = 8u;",
      "     2 | const LANES: u32 = 4u;",
      ">    3 | fn shared() {}",
      "     4 | ",
    ]);
    expect(describeAt(mine, first + 4)[0]).toBe("shaders/mine.wgsl:1:9: unresolved value 'x'");
  });

  it("of no place, or of one past the end, names the kernel's file alone", () => {
    for (const line of [0, 100_000]) {
      expect(describeAt(sample.forward as unknown as Entry, line)).toEqual(["shaders/sample.wgsl: unresolved value 'x'"]);
    }
  });

  it("keeps its own line breaks", () => {
    const message = "error: no matching call\n  note: 2 candidates";
    expect(describeShaderMessage(mine, {}, { lineNum: 1, linePos: 1, message })).toContain(
      `shaders/prelude.wgsl:1:1: ${message}\n`,
    );
  });
});
