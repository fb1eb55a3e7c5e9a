import preludeSource from "../../shaders/prelude.wgsl?raw";
import { GatewiseError } from "../errors.ts";
import type { Entry, ShaderFile, Variant } from "./kernel.ts";

const prelude: ShaderFile = { name: "prelude", source: preludeSource };

/** What of a variant a shader depends on, besides the name of its function. */
type Form = Pick<Variant, "constants" | "subgroupSize">;

/** The files of an entry point's shader, in the order in which they are joined. */
export function shaderFiles(entry: Entry, { subgroupSize }: Form): readonly ShaderFile[] {
  const files = [prelude, ...entry.files];
  return subgroupSize
    ? files.flatMap(({ withSubgroups, ...file }) => (withSubgroups === null ? [] : (withSubgroups ?? file)))
    : files;
}

/**
 * The WGSL of an entry point: the prelude and the kernel's files, their `const NAME: u32 = default;` lines
 * replaced by the variant's values and the aliases in `halves` by f16. (`override` cannot size an array of registers; a const can.)
 */
export function assembleShader(entry: Entry, form: Form, halves: readonly string[] = []): string {
  const { constants = {}, subgroupSize } = form;
  let code = shaderFiles(entry, form)
    .map((file) => file.source)
    .join("\n");
  for (const [name, value] of Object.entries(constants)) {
    const line = new RegExp(`^const ${name}: u32 = \\d+u;`, "m");
    if (!line.test(code)) {
      throw new GatewiseError("E_SHADER", `shaders/${entry.kernel}.wgsl has no line "const ${name}: u32 = …u;"`);
    }
    code = code.replace(line, `const ${name}: u32 = ${value}u;`);
  }
  for (const name of halves) {
    const line = `alias ${name} = vec4f;`;
    if (!code.includes(line)) throw new GatewiseError("E_SHADER", `shaders/${entry.kernel}.wgsl has no line "${line}"`);
    code = code.replace(line, `alias ${name} = vec4<f16>;`);
  }
  // On the first line, so that line numbers stay those of the files.
  const enabled = [...(halves.length > 0 ? ["f16"] : []), ...(subgroupSize ? ["subgroups"] : [])];
  return [...enabled.map((name) => `enable ${name};`), code].join(" ");
}

/** A compiler's message with its place in the file that was written, and two lines around it. */
export function describeShaderMessage(
  entry: Entry,
  form: Form,
  message: Pick<GPUCompilationMessage, "lineNum" | "linePos" | "message">,
): string {
  let line = message.lineNum;
  // A message of line 0 belongs to no place.
  for (const { name, source } of line > 0 ? shaderFiles(entry, form) : []) {
    const lines = source.split("\n");
    if (line > lines.length) {
      line -= lines.length;
      continue;
    }
    const around: string[] = [];
    for (let n = Math.max(1, line - 2); n <= Math.min(lines.length, line + 2); n++) {
      around.push(`${n === line ? ">" : " "} ${String(n).padStart(4)} | ${lines[n - 1]}`);
    }
    return `shaders/${name}.wgsl:${line}:${message.linePos}: ${message.message}\n${around.join("\n")}`;
  }
  return `shaders/${entry.kernel}.wgsl: ${message.message}`;
}
