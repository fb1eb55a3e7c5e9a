// Finds the WebGPU adapter for Node: a GPU, else the system's software Vulkan, else SwiftShader from npm.
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cache, fingerprint, packageVersion, root, traces } from "./environment.mjs";
import { runsHere, unpack } from "./unpack.mjs";

/** @typedef {import("./environment.mjs").Adapter} Adapter */

const swiftshader = join(cache, "swiftshader");
const probe = fileURLToPath(new URL("probe-adapter.mjs", import.meta.url));

export function adapterKey() {
  return fingerprint([
    process.platform,
    process.arch,
    packageVersion("webgpu"),
    packageVersion("@sparticuz/chromium"),
    process.env.GATEWISE_ADAPTER,
    process.env.VK_ICD_FILENAMES,
    process.env.VK_DRIVER_FILES,
    process.env.LD_LIBRARY_PATH,
    traces([
      ...["/usr/share", "/usr/local/share", "/etc", join(homedir(), ".local/share")].map((at) => join(at, "vulkan/icd.d")),
      "/dev/dri",
      "/dev/nvidia0",
      "/dev/dxg",
    ]),
    readFileSync(fileURLToPath(import.meta.url), "utf8"),
  ]);
}

/** @returns {Promise<Adapter>} */
export async function findAdapter() {
  const key = adapterKey();
  const driver = process.env.VK_ICD_FILENAMES;
  const wanted = process.env.GATEWISE_ADAPTER ?? "auto";
  if (wanted !== "auto" && wanted !== "system" && wanted !== "swiftshader")
    throw new Error(`GATEWISE_ADAPTER must be auto, system or swiftshader, got ${wanted}`);

  if (wanted !== "swiftshader") {
    const found = await requestAdapter({});
    if (found) {
      const kind = found.fallback ? "software" : "gpu";
      return { key, kind, driver, summary: found.fallback ? `${found.name} (software, from this system)` : found.name, env: {} };
    }
  }
  if (wanted !== "system" && runsHere) {
    unpack(swiftshader, ["swiftshader.tar.br"]);
    const env = { VK_ICD_FILENAMES: join(swiftshader, "vk_swiftshader_icd.json"), LD_LIBRARY_PATH: swiftshader };
    const found = await requestAdapter(env);
    if (found) return { key, kind: "software", driver, summary: `${found.name} (software, from npm)`, env };
  }
  return { key, kind: "none", driver, summary: `none; ${adviceForAdapter()}`, env: {} };
}

/** @param {Adapter} adapter */
export function adapterIsCurrent(adapter) {
  const library = adapter.env.LD_LIBRARY_PATH;
  return adapter.kind !== "none" && adapter.key === adapterKey() && (!library || existsSync(library));
}

function adviceForAdapter() {
  if (process.platform === "linux")
    return "install a Vulkan driver, for example Debian's or Ubuntu's mesa-vulkan-drivers (Mesa 23 or newer)";
  return "update the graphics driver; Dawn wants Metal on macOS and Direct3D 12 on Windows";
}

/**
 * Asks in a process of its own, because the variables must be set before it starts and a bad driver may crash it.
 * @param {Record<string, string>} env
 * @returns {Promise<{ name: string, fallback: boolean } | undefined>}
 */
function requestAdapter(env) {
  return new Promise((resolve) => {
    const options = { cwd: root, env: { ...process.env, ...env }, timeout: 60_000 };
    execFile(process.execPath, [probe], options, (error, stdout) => {
      const line = stdout.split("\n").find((text) => text.startsWith("{"));
      resolve(error || !line ? undefined : JSON.parse(line));
    });
  });
}
