// npm run test:naga: the kernels under wgpu and Naga, what Firefox uses, by npm's Deno on a software Vulkan driver.
// Exits with 0 if all is well, 1 if something fails, and 0 with a plain word where no driver is there that wgpu takes.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { cache, readEnvironment, root } from "./environment.mjs";
import { wasmModule } from "./wasm-module.mjs";

const DENO = "deno@2.9.6";
const LAVAPIPE = ["/usr/share/vulkan/icd.d/lvp_icd.json", "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json"];

const { adapter } = readEnvironment();
const drivers = [
  ...LAVAPIPE.filter((path) => existsSync(path)).map((path) => ({ VK_ICD_FILENAMES: path })),
  // The adapter that setup found may bring its own driver and loader.
  ...(adapter?.env?.VK_ICD_FILENAMES ? [adapter.env] : []),
];
if (drivers.length === 0) {
  console.log("second compiler: not run, there is no software Vulkan driver (Debian: mesa-vulkan-drivers)");
  process.exit(0);
}

const folder = join(cache, "second-compiler");
mkdirSync(folder, { recursive: true });
const deno = join(folder, "node_modules", "deno", "bin.cjs");
if (!existsSync(deno)) {
  const { status } = spawnSync(
    "npm",
    ["install", "--prefix", folder, "--no-save", "--ignore-scripts", "--loglevel=error", DENO],
    { stdio: "inherit" },
  );
  if (status !== 0) fail("npm could not install deno; see above");
}

const { build } = await import("vite");
await build({
  configFile: false,
  root,
  logLevel: "error",
  plugins: [wasmModule()],
  build: {
    outDir: folder,
    emptyOutDir: false,
    target: "es2022",
    minify: false,
    lib: { entry: join(root, "test", "second-compiler", "main.ts"), formats: ["es"], fileName: () => "main.mjs" },
  },
});

for (const driver of drivers) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [deno, "run", "-A", "--unstable-webgpu", join(folder, "main.mjs")],
    {
      env: { ...process.env, ...driver, DENO_NO_UPDATE_CHECK: "1" },
      encoding: "utf8",
      timeout: 600_000,
      maxBuffer: 1 << 26,
    },
  );
  if (/E_NO_WEBGPU|offers no adapter/.test(stderr)) continue;
  const lines = stdout.trim().split("\n");
  const last = lines.pop() ?? "";
  if (status !== 0 || !last.startsWith("{")) fail(`deno ended with ${status}:\n${stdout}${stderr}`);
  const { device, checks, failed } = JSON.parse(last);
  for (const line of lines) console.log(line);
  console.log(`second compiler (wgpu, Naga) on ${device}: ${checks - failed} of ${checks} checks passed`);
  process.exit(failed === 0 ? 0 : 1);
}
console.log("second compiler: not run, wgpu takes none of the software Vulkan drivers here");

/** @param {string} message @returns {never} */
function fail(message) {
  console.error(`second compiler: ${message}`);
  process.exit(1);
}
