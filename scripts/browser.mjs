// Finds a Chromium with WebGPU: Playwright's own, the system's, else the one that ships on npm.
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { browserVariables, cache, fingerprint, packageVersion, root, traces, writeAtomically } from "./environment.mjs";
import { runsHere, unpack } from "./unpack.mjs";

/** @typedef {import("./environment.mjs").Adapter} Adapter */
/** @typedef {import("./environment.mjs").Browser} Browser */

const npmBrowser = join(cache, "chromium");
const probe = fileURLToPath(new URL("probe-browser.mjs", import.meta.url));
const hardwareFlags = ["--enable-unsafe-webgpu", "--ignore-gpu-blocklist"];
const linuxHardwareFlags = process.platform === "linux" ? ["--enable-features=Vulkan"] : [];
const softwareFlags = [...hardwareFlags, "--use-webgpu-adapter=swiftshader"];

const playwrightFolder =
  process.env.PLAYWRIGHT_BROWSERS_PATH ??
  (process.platform === "darwin"
    ? join(homedir(), "Library/Caches/ms-playwright")
    : process.platform === "win32"
      ? join(process.env.LOCALAPPDATA ?? homedir(), "ms-playwright")
      : join(homedir(), ".cache/ms-playwright"));

// The archive's own fonts.conf names folders of the cloud service that the browser was packed for.
const fontSettings = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
`;

/** Where Chrome, Chromium and Edge lie on the three systems. */
function systemBrowsers() {
  if (process.platform === "darwin")
    return ["Google Chrome", "Chromium", "Microsoft Edge"].flatMap((app) =>
      ["", homedir()].map((at) => `${at}/Applications/${app}.app/Contents/MacOS/${app}`),
    );
  if (process.platform === "win32")
    return [process.env.PROGRAMFILES, process.env["PROGRAMFILES(X86)"], process.env.LOCALAPPDATA]
      .filter((at) => at !== undefined)
      .flatMap((at) => ["Google/Chrome", "Chromium", "Microsoft/Edge"].map((app) => [at, app]))
      .map(([at, app]) => join(at ?? "", app ?? "", "Application", app?.endsWith("Edge") ? "msedge.exe" : "chrome.exe"));
  const names = ["google-chrome", "google-chrome-stable", "chromium", "chromium-browser", "microsoft-edge"];
  const folders = new Set(["/usr/bin", "/usr/local/bin", "/snap/bin", ...(process.env.PATH ?? "").split(delimiter)]);
  return names.flatMap((name) => [...folders].filter((at) => at.startsWith("/")).map((at) => join(at, name)));
}

/** @param {Adapter} adapter */
export function browserKey(adapter) {
  return fingerprint([
    process.platform,
    process.arch,
    packageVersion("playwright"),
    packageVersion("@sparticuz/chromium"),
    process.env.GATEWISE_BROWSER,
    adapter.kind,
    traces([playwrightFolder, ...systemBrowsers()]),
    readFileSync(fileURLToPath(import.meta.url), "utf8"),
  ]);
}

/** @param {Browser} browser @param {Adapter} adapter */
export function browserIsCurrent(browser, adapter) {
  return browser.key === browserKey(adapter) && existsSync(browser.executablePath);
}

/**
 * The first browser that starts and gives a WebGPU device.
 * @param {Adapter} adapter
 * @returns {Promise<{ browser?: Browser, tried: string[] }>}
 */
export async function findBrowser(adapter) {
  const key = browserKey(adapter);
  /** @type {string[]} */
  const tried = [];
  const flagSets = [softwareFlags];
  if (adapter.kind === "gpu") flagSets.unshift([...hardwareFlags, ...linuxHardwareFlags]);

  for await (const { executablePath, source, env } of candidates()) {
    for (const args of flagSets) {
      const variables = browserVariables({ adapter, browser: { key, summary: "", executablePath, args, env } });
      const found = await launch({ executablePath, args, env: variables, hardware: args !== softwareFlags });
      if (typeof found === "object")
        return { browser: { key, summary: `${found.name} (${source}; ${found.adapter})`, executablePath, args, env }, tried };
      tried.push(`${executablePath}: ${found}`);
    }
  }
  return { tried };
}

/** @returns {AsyncGenerator<{ executablePath: string, source: string, env: Record<string, string> }>} */
async function* candidates() {
  const wanted = process.env.GATEWISE_BROWSER;
  if (wanted && wanted !== "npm") {
    if (!existsSync(wanted)) throw new Error(`GATEWISE_BROWSER must be npm or a browser's path; there is no ${wanted}`);
    yield { executablePath: wanted, source: "from GATEWISE_BROWSER", env: {} };
    return;
  }
  if (!wanted) {
    const { chromium } = await import("playwright");
    const own = chromium.executablePath();
    if (own && existsSync(own)) yield { executablePath: own, source: "from Playwright", env: {} };
    for (const executablePath of systemBrowsers())
      if (existsSync(executablePath)) yield { executablePath, source: "from this system", env: {} };
  }
  if (!runsHere) {
    if (wanted) throw new Error(`GATEWISE_BROWSER=npm works on Linux x64 only, this is ${process.platform} ${process.arch}`);
    return;
  }
  unpack(npmBrowser, ["chromium.br", "swiftshader.tar.br", "al2023.tar.br", "fonts.tar.br"]);
  writeAtomically(join(npmBrowser, "fonts.conf"), fontSettings);
  const env = { LD_LIBRARY_PATH: join(npmBrowser, "lib"), FONTCONFIG_PATH: npmBrowser };
  yield { executablePath: join(npmBrowser, "chromium"), source: "from npm", env };
}

/**
 * @param {{ executablePath: string, args: string[], env: Record<string, string>, hardware: boolean }} request
 * @returns {Promise<{ name: string, adapter: string } | string>} the browser, or why it will not do
 */
function launch(request) {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [probe], { cwd: root, timeout: 90_000 }, (error, stdout) => {
      const line = stdout.split("\n").find((text) => text.startsWith("{"));
      const answer = line ? JSON.parse(line) : { error: error?.message ?? "no answer" };
      resolve(answer.error ?? answer);
    });
    child.stdin?.end(JSON.stringify(request));
  });
}
