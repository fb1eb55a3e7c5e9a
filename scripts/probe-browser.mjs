// Starts the browser described on standard input and prints its name and WebGPU adapter as one line of JSON.
import { chromium } from "playwright";

let text = "";
for await (const part of process.stdin) text += part;
const { executablePath, args, env, hardware } = JSON.parse(text);

try {
  const browser = await chromium.launch({ executablePath, args, env, timeout: 60_000 });
  try {
    const page = await browser.newPage();
    // WebGPU needs a secure context, which an intercepted localhost is.
    await page.route("http://localhost/", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
    await page.goto("http://localhost/");
    const info = await page.evaluate(async () => {
      const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
      if (!adapter) return undefined;
      (await adapter.requestDevice()).destroy();
      const { vendor, architecture, description, isFallbackAdapter } = adapter.info;
      return { name: description || `${vendor} ${architecture}`.trim(), fallback: isFallbackAdapter };
    });
    const name = `Chromium ${browser.version()}`;
    if (!info) console.log(JSON.stringify({ error: `${name} has no WebGPU adapter` }));
    else if (hardware && info.fallback) console.log(JSON.stringify({ error: `${name} does not use the GPU` }));
    else console.log(JSON.stringify({ name, adapter: /swiftshader/i.test(info.name) ? "SwiftShader" : info.name }));
  } finally {
    await browser.close();
  }
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error);
  console.log(JSON.stringify({ error: reason.split("\n").slice(0, 3).join(" ") }));
}
