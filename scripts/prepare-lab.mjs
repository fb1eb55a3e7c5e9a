#!/usr/bin/env node
// npm run lab:prepare -- [race|scans|memory]: trains the runs that the lab brings along, in minutes, and the same bytes on every machine.
import { join } from "node:path";
import { root } from "./environment.mjs";
import { runSource } from "./load-source.mjs";

await runSource("/scripts/prepare-lab.ts", join(root, "src", "lab", "prepared"), process.argv[2]);
