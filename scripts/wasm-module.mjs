// Compiles the files of wasm/ with AssemblyScript, for Vite: `import { block, lengths, packed } from "…/wasm?module"` is the builds of
// plain SIMD, of relaxed SIMD and of that with wider tiles in one text. What was compiled is kept as long as no source changes.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { deflateSync } from "node:zlib";

const at = (/** @type {string} */ path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const CACHE = at("node_modules/.cache/gatewise/");
const OPTIONS = ["--importMemory", "--maximumMemory", "65536", "--runtime", "stub", "--noAssert", "-O3", "--enable", "simd"];
const RELAXED = [...OPTIONS, "--enable", "relaxed-simd"];
const BUILDS = {
  plain: { options: OPTIONS, columns: 8 },
  relaxed: { options: RELAXED, columns: 8 },
  wide: { options: RELAXED, columns: 16 },
};

/** The builds are all but the same: in blocks by turns, each block's twin lies in the window of the compression. */
const BLOCK = 8192;

/** What the files in wasm/ export is what the module does; wasm/shared/ has what they share. */
const filesIn = (/** @type {string} */ folder) =>
  readdirSync(at(folder))
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/${name}`);

/** @returns {import("vite").Plugin} */
export function wasmModule() {
  return {
    name: "gatewise:wasm",
    enforce: "pre",
    resolveId: (source) => (source.endsWith("/wasm?module") ? at("wasm/module") : null),
    async load(id) {
      if (id !== at("wasm/module")) return null;
      for (const name of [...filesIn("wasm"), ...filesIn("wasm/shared")]) this.addWatchFile(at(name));
      const builds = await Promise.all(Object.keys(BUILDS).map(compile));
      const blocks = Math.ceil(Math.max(...builds.map(({ length }) => length)) / BLOCK);
      const byTurns = Buffer.alloc(blocks * builds.length * BLOCK);
      builds.forEach((bytes, build) => {
        for (let i = 0; i < blocks; i++)
          byTurns.set(bytes.subarray(i * BLOCK, (i + 1) * BLOCK), (i * builds.length + build) * BLOCK);
      });
      const lengths = Object.fromEntries(Object.keys(BUILDS).map((name, i) => [name, builds[i]?.length]));
      const packed = deflateSync(byTurns, { level: 9 }).toString("base64");
      return Object.entries({ block: BLOCK, lengths, packed })
        .map(([name, value]) => `export const ${name} = ${JSON.stringify(value)};`)
        .join("\n");
    },
  };
}

/** A source, with as many columns in a tile as the build has. */
const sourceOf = (/** @type {string} */ name, /** @type {number} */ columns) =>
  readFileSync(at(name), "utf8").replace(/(?<=const COLUMNS = )8(?=;)/, String(columns));

/**
 * @param {string} build
 * @returns {Promise<Buffer>}
 */
async function compile(build) {
  const { options, columns } = BUILDS[/** @type {keyof typeof BUILDS} */ (build)];
  const entries = filesIn("wasm");
  const sources = new Map([...entries, ...filesIn("wasm/shared")].map((name) => [name, sourceOf(name, columns)]));
  const key = createHash("sha256")
    .update(JSON.stringify([options, ...sources]))
    .digest("hex")
    .slice(0, 16);
  const path = `${CACHE}${build}-${key}.wasm`;
  try {
    return readFileSync(path);
  } catch {
    // Not compiled yet.
  }
  const { main } = await import("assemblyscript/asc");
  /** @type {Uint8Array | undefined} */
  let bytes;
  const { error, stderr } = await main([...entries, ...options, "--outFile", "module.wasm"], {
    readFile: (name) => sources.get(name) ?? null,
    writeFile: (_, contents) => void (bytes = /** @type {Uint8Array} */ (contents)),
    listFiles: () => [],
  });
  if (error || !bytes) throw new Error(`wasm/ was not compiled: ${stderr}`);
  mkdirSync(CACHE, { recursive: true });
  writeFileSync(`${path}.${process.pid}`, bytes);
  renameSync(`${path}.${process.pid}`, path);
  return Buffer.from(bytes);
}
