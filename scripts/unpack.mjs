// Unpacks the archives that the npm package @sparticuz/chromium ships (its own code wants a newer Node and /tmp).
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { root } from "./environment.mjs";

const archives = join(root, "node_modules", "@sparticuz", "chromium", "bin");

/** Whether the npm browser and its software GPU are made for this machine. */
export const runsHere = process.platform === "linux" && process.arch === "x64";

/**
 * Unpacks the named archives into `folder`, as one: a folder that exists is complete.
 * `X.tar.br` is a tar archive; `X.br` is one executable file.
 * @param {string} folder @param {string[]} names
 */
export function unpack(folder, names) {
  if (existsSync(folder)) return;
  const temporary = `${folder}.${process.pid}`;
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary, { recursive: true });
  for (const name of names) {
    const path = join(archives, name);
    if (!existsSync(path)) throw new Error(`${path} is missing; delete node_modules and run: npm run setup`);
    const data = brotliDecompressSync(readFileSync(path));
    if (name.endsWith(".tar.br")) untar(data, temporary);
    else writeFileSync(join(temporary, name.replace(/\.br$/, "")), data, { mode: 0o755 });
  }
  try {
    renameSync(temporary, folder);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    if (!existsSync(folder)) throw error; // else another process was faster
  }
}

/**
 * Writes the files of a tar archive (POSIX ustar, plain files only: the archives hold nothing else).
 * @param {Buffer} tar @param {string} folder
 */
function untar(tar, folder) {
  /** @param {number} start @param {number} length */
  const field = (start, length) =>
    tar
      .toString("latin1", start, start + length)
      .replace(/\0.*$/s, "")
      .trim();
  for (let offset = 0; offset + 512 <= tar.length && tar[offset] !== 0;) {
    const size = parseInt(field(offset + 124, 12), 8);
    const mode = parseInt(field(offset + 100, 8), 8);
    const type = String.fromCharCode(tar[offset + 156] ?? 0);
    const path = join(folder, field(offset + 345, 155), field(offset, 100));
    if (!path.startsWith(folder + sep)) throw new Error(`archive member outside its folder: ${path}`);
    if (type === "0" || type === "\0") {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, tar.subarray(offset + 512, offset + 512 + size), { mode });
    }
    offset += 512 + Math.ceil(size / 512) * 512;
  }
}
