// A run's settings as a file: the command line's options by their names, { "data": "alice", "hidden": 128, "lr": 0.002 }.
import { readFile } from "node:fs/promises";
import { InvalidArgumentError, type Command } from "commander";
import { given, shown } from "../checks.ts";
import { SIZED_KINDS, type TokenizerKind } from "../data/tokenizers.ts";
import { GatewiseError } from "../errors.ts";
import { CELL_OPTIONS, hasOption } from "../models/cells.ts";
import type { Checkpoint } from "../training/checkpoint.ts";
import { PIPE } from "./data.ts";
import type { RunInfo } from "./files.ts";
import { flagsOf } from "./options.ts";

/**
 * Sets the options that a file gives; what was typed stands before it.
 *
 * @throws GatewiseError E_DATA for what is no such file, E_CONFIG that names the option that it says wrong
 */
export async function applyConfig(command: Command, path: string): Promise<void> {
  for (const [name, value] of Object.entries(await read(path))) {
    const option = command.options.find((each) => each.name() === name && !["config", "raw"].includes(name));
    const refuse = (why: string): never => {
      throw new GatewiseError("E_CONFIG", `${path}: --${name} ${why}`);
    };
    if (!option) return refuse("is no option of this command");
    const attribute = option.attributeName();
    if (command.getOptionValueSource(attribute) === "cli") continue;
    if (name === "data" && Array.isArray(value) && value.every((each) => typeof each === "string")) {
      command.setOptionValueWithSource(attribute, value, "config");
      continue;
    }
    const takesValue = option.required || option.optional;
    if (takesValue ? !["string", "number"].includes(typeof value) : typeof value !== "boolean")
      refuse(`must be ${takesValue ? "a number or a text" : "true or false"}, got ${shown(value)}`);
    try {
      const parsed = takesValue && option.parseArg ? option.parseArg(String(value), undefined as never) : value;
      command.setOptionValueWithSource(attribute, parsed, "config");
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error;
      refuse(`is ${shown(value)}: ${error.message}`);
    }
  }
}

async function read(path: string): Promise<object> {
  const fail = (cause: unknown, why: string): never => {
    throw new GatewiseError(
      "E_DATA",
      `${path}: ${why}; give a JSON object of options, as "gatewise info RUN --config" prints it`,
      {
        cause,
      },
    );
  };
  const text = await readFile(path, "utf8").catch((cause: Error) => fail(cause, cause.message));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    fail(cause, (cause as Error).message);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return fail(undefined, `expected an object, got ${shown(value)}`);
  return value;
}

/** The options that make a checkpoint's run again. */
export function configOf(
  { config, tokenizer, training }: Checkpoint,
  { data, pattern, encoding, unknown, initFrom, extendVocabulary, sample = {} }: Partial<RunInfo>,
): object {
  const kind = tokenizer.toJSON().kind as TokenizerKind;
  const own = Object.fromEntries(
    Object.entries(config).filter(([field]) => !(field in CELL_OPTIONS) || hasOption(config.cell, field)),
  );
  return {
    ...given({ data: data === PIPE ? undefined : data, pattern, encoding }),
    tokenizer: kind,
    ...(SIZED_KINDS.includes(kind) ? { "vocab-size": tokenizer.size } : {}),
    ...flagsOf({ ...own, ...training?.options }),
    ...given({ "init-from": initFrom, "extend-vocabulary": extendVocabulary, unknown }),
    ...given({ "sample-prompt": sample.prompt, "sample-length": sample.length, "sample-temperature": sample.temperature }),
  };
}
