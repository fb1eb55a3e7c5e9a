#!/usr/bin/env node
// node bench/pytorch/run.mjs logits CHECKPOINT, or exchange …: what the checks in Python compare with.
import { runSource } from "../../scripts/load-source.mjs";

const [name, ...args] = process.argv.slice(2);
await runSource(`/bench/pytorch/${name}.ts`, ...args);
