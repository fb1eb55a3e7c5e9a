import { CharTokenizer } from "../data/tokenizer.ts";
import { CELL_OPTIONS, hasOption } from "../models/cells.ts";
import { parameterCount } from "../models/config.ts";
import { unitOf } from "./data.ts";
import { configOf } from "./config.ts";
import { bitsPerByte, findCheckpoint, readRunInfo } from "./files.ts";
import { count, print, printJson, shown, warn } from "./progress.ts";

/** `gatewise info`. Returns the exit code. */
export async function info(
  path: string,
  { json, best, config: asConfig }: { readonly json?: boolean; readonly best?: boolean; readonly config?: boolean },
): Promise<number> {
  const found = await findCheckpoint(path, warn, { best: best ?? false });
  const { config, tokenizer, training, tensors } = found.checkpoint;
  if (asConfig) {
    print(`${JSON.stringify(configOf(found.checkpoint, await readRunInfo(found.folder)), null, 2)}\n`);
    return 0;
  }
  const parameters = parameterCount(config);
  if (json) {
    const shapes = Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]));
    printJson({
      v: 1,
      event: "info",
      path: found.path,
      parameters,
      config,
      tokenizer: tokenizer.toJSON().kind,
      vocabulary: tokenizer.size,
      ...(tokenizer instanceof CharTokenizer && { characters: tokenizer.characters }),
      training,
      tensors: shapes,
    });
    return 0;
  }
  const unit = unitOf(tokenizer);
  const visible = (text: string): string => text.replaceAll("\n", "\\n").replaceAll("\t", "\\t");
  const tokens = tokenizer instanceof CharTokenizer ? visible(tokenizer.characters.join("")) : tokenizer.toJSON().kind;
  const lines: [string, string][] = [
    ["checkpoint", shown(found.path)],
    [
      "model",
      Object.entries(config)
        .filter(([key]) => !(key in CELL_OPTIONS) || hasOption(config.cell, key))
        .map(([key, value]) => `${key} ${String(value)}`)
        .join(" · "),
    ],
    ["parameters", count(parameters)],
    ["vocabulary", `${tokenizer.size}: ${tokens}`],
  ];
  if (training) {
    const { step, bestValLoss, bestStep, options, data } = training;
    lines.push(["step", `${step} of ${options.totalSteps}`]);
    const at = bestStep === null ? "" : ` · at step ${bestStep}`;
    const bits = bestValLoss === null ? undefined : bitsPerByte(bestValLoss, await readRunInfo(found.folder));
    if (bestValLoss !== null)
      lines.push([
        "best",
        `validation loss ${bestValLoss.toFixed(4)} · ${(bestValLoss / Math.LN2).toFixed(3)} bits/${unit}${bits === undefined ? "" : ` · ${bits.toFixed(3)} bits/byte`}${at}`,
      ]);
    lines.push([
      "training",
      Object.entries(options)
        .map(([key, value]) => `${key} ${String(value)}`)
        .join(" · "),
    ]);
    lines.push(["text", `${count(data.tokens)} ${unit}s`]);
  }
  const width = Math.max(...lines.map(([key]) => key.length));
  for (const [key, value] of lines) print(`${key.padEnd(width)}  ${value}\n`);
  print("\ntensors\n");
  const nameWidth = Math.max(...Object.keys(tensors).map((name) => name.length));
  for (const [name, { shape }] of Object.entries(tensors)) print(`  ${name.padEnd(nameWidth)}  [${shape.join(", ")}]\n`);
  return 0;
}
