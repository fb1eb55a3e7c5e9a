#!/usr/bin/env node
// npm run bench:ladder -- [NAME…] [--rounds 7]: see bench/README.md.
import { parseArgs } from "node:util";
import { runSource } from "../scripts/load-source.mjs";

const { values, positionals } = parseArgs({ allowPositionals: true, options: { rounds: { type: "string", default: "7" } } });
// Dawn would keep the process.
process.exit(await runSource("/bench/ladders/run.ts", positionals, Number(values.rounds)));
