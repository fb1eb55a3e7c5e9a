// Where the page stands and how it is left: files on disk, frames, addresses that are not secure, reloads in the middle.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, it } from "vitest";
import { root } from "../../scripts/environment.mjs";
import { othersTime } from "../others-time.ts";
import {
  button,
  newContext,
  openPage,
  outDir,
  query,
  readBrowserTime,
  ready,
  SMALL,
  stepShown,
  untilStep,
  useLab,
} from "./lab.ts";

const lab = useLab();
const withoutGpu = useLab({ webGpu: false });

const ENDLESS = { ...SMALL, steps: "200000", "eval-every": "0" };

it("comes back where it was when it is reloaded in the middle of a run, at any moment", async () => {
  const context = await newContext(lab.browser, { serviceWorkers: "allow" });
  const { page, problems } = await openPage(context, lab.url + query(ENDLESS));
  await ready(page);
  /** Trains `steps` on and reloads; whether the page kept all that it had shown, as it must if it had the machine for that. */
  const keepsAll = async (steps: number): Promise<boolean> => {
    await button(page, /^(Train|Resume)$/).click();
    await untilStep(page, (await stepShown(page)) + steps);
    const begun = await readBrowserTime(lab.browser);
    const before = await stepShown(page);
    await page.reload();
    await page.waitForFunction(() => document.querySelector(".status")?.textContent?.startsWith("Restored"));
    const ended = await readBrowserTime(lab.browser);
    // What was shown was done; a step or two more may have been.
    const after = await stepShown(page);
    await ready(page);
    if (othersTime(begun, ended) < 0.2 * (ended.at - begun.at)) expect(after).toBeGreaterThanOrEqual(before);
    return after >= before;
  };
  // A page that is left holds still for less than half a second, of which others on the machine may take too much.
  const reload = async (steps: number): Promise<void> => {
    for (let attempt = 0; attempt < 5; attempt++) if (await keepsAll(steps)) return;
    expect.fail("five times a page that was left did not keep what it had shown");
  };
  // Before the first save, and between two of them.
  for (let i = 0; i < 3; i++) await reload(20);
  await reload(150);
  expect(problems).toEqual([]);
  await context.close();
});

it("asks before it is left where steps would be lost, and only there", async () => {
  const context = await newContext(withoutGpu.browser);
  await context.route(/assets\/worker-.*\.js/, async (route) => {
    const response = await route.fetch();
    const refuse = 'navigator.storage.getDirectory = () => Promise.reject(new DOMException("storage is off", "SecurityError"));';
    await route.fulfill({ response, body: refuse + (await response.text()) });
  });
  const { page } = await openPage(context, lab.url + query(ENDLESS));
  const asked: string[] = [];
  page.on("dialog", (dialog) => {
    asked.push(dialog.type());
    void dialog.accept();
  });
  await ready(page);
  await page.reload();
  await ready(page);
  expect(asked).toEqual([]);
  await button(page, "Train").click();
  await untilStep(page, 5);
  await button(page, "Pause").click();
  await page.waitForFunction(() => /keeps no files/.test(document.querySelector(".saved")?.textContent ?? ""));
  await page.reload();
  expect(asked).toEqual(["beforeunload"]);
  await ready(page);
  await context.close();
});

it("says in a sentence why it does not run from a file, or in a frame without an origin of its own", async () => {
  const context = await newContext(withoutGpu.browser);
  const page = await context.newPage();
  for (const file of ["index.html", "bench/index.html"]) {
    await page.goto(pathToFileURL(join(outDir, file)).href);
    await page.getByText("browsers load none from a file on disk").waitFor();
  }
  // A server may let frames without an origin have its files, or not.
  for (const headers of [{}, { "access-control-allow-origin": "*" }] as Record<string, string>[]) {
    await context.route("**/assets/*.*", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, headers: { ...response.headers(), ...headers } });
    });
    await context.route("**/frame.html", (route) =>
      route.fulfill({
        contentType: "text/html",
        body: '<iframe sandbox="allow-scripts" src="./" width="800" height="600"></iframe>',
      }),
    );
    await page.goto(`${lab.url}frame.html`);
    await page.frameLocator("iframe").getByText("in a tab of its own").waitFor();
  }
  await context.close();
});

it("is framed by nobody with the header that the README gives hosts, and by whom it names", async () => {
  const [, given] = /^Content-Security-Policy: (frame-ancestors .*)$/m.exec(readFileSync(join(root, "README.md"), "utf8"))!;
  const context = await newContext(withoutGpu.browser);
  const framed = async (policy: string): Promise<boolean> => {
    await context.unrouteAll();
    await context.route(lab.url, async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, headers: { ...response.headers(), "content-security-policy": policy } });
    });
    await context.route("https://school.example/", (route) =>
      route.fulfill({ contentType: "text/html", body: `<iframe src="${lab.url}"></iframe>` }),
    );
    const page = await context.newPage();
    await page.goto("https://school.example/");
    return (await page.frames()[1]!.locator("#lab").count()) > 0;
  };
  expect(await framed(given!)).toBe(false);
  expect(await framed("frame-ancestors https://school.example")).toBe(true);
  await context.close();
});

it("computes on the CPU, and says so, where a page's policy has no WebAssembly", async () => {
  const context = await newContext(withoutGpu.browser);
  // A worker's policy is that of its own answer.
  await context.route(/assets\/worker-.*\.js/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, headers: { ...response.headers(), "content-security-policy": "script-src 'self'" } });
  });
  const { page } = await openPage(context, `${lab.url}?device=auto`);
  await ready(page);
  expect(await page.locator(".device").innerText()).toBe("CPU float32");
  expect(await page.locator(".notice").innerText()).toMatch(/a small network, slowly[^]*WebAssembly is not allowed here/);
  await context.close();
});

it("lets nothing but its own policy vouch for scripts", async () => {
  const context = await newContext(withoutGpu.browser);
  for (const path of ["", "bench/"]) {
    const { page } = await openPage(context, lab.url + path);
    await page.waitForSelector("#go, .bench button.primary");
    const make = (name: string): Promise<unknown> =>
      page.evaluate(
        (policy) => void (window as any).trustedTypes.createPolicy(policy, { createScriptURL: (url: string) => url }),
        name,
      );
    await expect(make("another")).rejects.toThrow(/disallowed/);
    await expect(make("gatewise-lab")).rejects.toThrow(/already exists/);
  }
  await context.close();
});
