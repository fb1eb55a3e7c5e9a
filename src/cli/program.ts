// What the command line accepts, and the exit codes. Each command's work is in the file of its name.
import { Command, CommanderError, Option } from "commander";
import { GatewiseError, type ErrorCode } from "../errors.ts";
import { TASK_NAMES } from "../data/tasks.ts";
import { CELL_NAMES } from "../models/cells.ts";
import { GENERATIONS, PRESET_NAMES } from "../models/presets.ts";
import { BREAKAGES, CHECKED_CELLS } from "../training/gradient-check.ts";
import { bench } from "./bench.ts";
import { check } from "./check.ts";
import { compare, COMPARE_DEFAULTS, COMPARE_FLAGS } from "./compare.ts";
import { applyConfig } from "./config.ts";
import { doctor } from "./doctor.ts";
import { evaluate, SPLITS } from "./eval.ts";
import { KEPT } from "./files.ts";
import { EXPORTS, exportCheckpoint } from "./export.ts";
import { DESCRIBED, importModel } from "./import.ts";
import { info } from "./info.ts";
import { UNKNOWN } from "./fine-tune.ts";
import { list } from "./list.ts";
import { memory } from "./memory.ts";
import {
  addModelFlags,
  addTrainingFlags,
  bestOption,
  configOption,
  dataOptions,
  deviceOption,
  evalCharsOption,
  GROUP,
  inFlags,
  jsonOption,
  noTuneOption,
  parseInteger,
  parseProbability,
  parseSizes,
  parseTemperature,
  parseTime,
  presetOption,
  presetsOption,
  rawOption,
  retuneOption,
  simdOption,
  threadsOption,
  tokenizerOption,
  tokenizersOption,
  vocabSizeOption,
} from "./options.ts";
import { plot } from "./plot.ts";
import { say, setRaw, visible } from "./progress.ts";
import { sample } from "./sample.ts";
import { train } from "./train.ts";
import { version } from "./version.ts";

const FAILED = 1;
const USAGE = 2;
const EXIT_CODES: Readonly<Record<ErrorCode, number>> = {
  E_CONFIG: USAGE,
  E_DATA: USAGE,
  E_SHAPE: USAGE,
  E_BAD_CHECKPOINT: USAGE,
  E_DISPOSED: FAILED,
  E_LIMIT: FAILED,
  E_SHADER: FAILED,
  E_NO_WEBGPU: 3,
  E_DEVICE_LOST: 4,
  E_NAN_LOSS: 5,
};

const integer = (flags: string, least: number, help: string): Option => new Option(flags, help).argParser(parseInteger(least));

/** The text as an argument, or by its flags. */
function withTexts(command: Command): Command {
  for (const option of dataOptions("alice")) command.addOption(option);
  return command.argument("[texts...]", `the same as --data, or several, one after another`).hook("preAction", (_, self) => {
    if (self.args.length === 0) return;
    if (self.getOptionValueSource("data") === "cli")
      throw new GatewiseError("E_CONFIG", `--data and ${self.args[0]} both name a text; leave --data out, and name all texts`);
    self.setOptionValueWithSource("data", self.args, "cli");
  });
}

/** Where a command computes, and how it tells. */
function onDevice(command: Command, tunes = true): Command {
  const options = [
    deviceOption(),
    threadsOption(),
    simdOption(),
    ...(tunes ? [noTuneOption(), retuneOption()] : []),
    jsonOption(),
  ];
  for (const option of options) command.addOption(option);
  return command;
}

/** What people begin with, in front of a command's --help. */
const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  train: [
    "train --data my-book.txt --preset lstm --steps 2000",
    "train --data alice --preset gru --hidden 256 --test 0.05 --patience 4 --time 10m",
    "train --resume runs/alice-gru-256 --steps 4000",
  ],
  sample: [
    "sample runs/alice-lstm-128 --best --prompt 'Alice ' --temperature 0.7",
    "sample runs/alice-lstm-128 --prompts lines.txt --json",
  ],
  eval: ["eval runs/alice-lstm-128 --best --split test", "eval runs/alice-lstm-128 --data another-book.txt"],
  list: ["list", "list my-runs --json"],
  plot: ["plot runs/alice-lstm-128", "plot runs/* --out curves.svg"],
  gatewise: ["train my-book.txt", 'sample runs/my-book-lstm-128 --prompt "The "', "train --help"],
  compare: ["compare", "compare --data my-book.txt --presets gru,lstm --steps 2000"],
  info: ["info runs/alice-lstm-128 --best", "info runs/alice-lstm-128 --config > config.json"],
};
const examplesOf = (name: string): string =>
  EXAMPLES[name] ? `Examples:\n${EXAMPLES[name].map((line) => `  gatewise ${line}`).join("\n")}\n` : "";

/** All commands; each hands over its work, which comes to an exit code. */
export function makeProgram(run: (work: Promise<number>) => Promise<void>): Command {
  const program = new Command("gatewise")
    .description(`Trains recurrent networks (${CELL_NAMES.join(", ").toUpperCase()}) on WebGPU, or without a GPU in WebAssembly`)
    .addHelpText("before", examplesOf("gatewise"))
    .version(version())
    .exitOverride()
    .configureOutput({
      outputError: (text, write) =>
        write(
          `${visible(text)
            .replace(/^error: /, "gatewise: ")
            .trim()
            .replaceAll("\n", " ")}\n`,
        ),
    });

  program.hook("preAction", async (_, action) => {
    setRaw(action.getOptionValue("raw") === true);
    const config = action.getOptionValue("config") as unknown;
    if (typeof config === "string") await applyConfig(action, config);
  });

  // Exit codes, errors and --raw are the same for every command.
  const command = (name: string, description: string): Command =>
    program
      .command(name)
      .description(description)
      .exitOverride()
      .configureOutput(program.configureOutput())
      .addHelpText("before", examplesOf(name));

  onDevice(
    addTrainingFlags(
      withTexts(command("train", "train a language model on a text"))
        .addOption(tokenizerOption())
        .addOption(vocabSizeOption())
        .addOption(presetOption()),
    )
      .optionsGroup(GROUP.reports)
      .option("--sample-prompt <text>", "what samples while training begin with")
      .addOption(integer("--sample-length <n>", 0, "their length; by default 200"))
      .addOption(new Option("--sample-temperature <x>", "their temperature; by default 0.8").argParser(parseTemperature))
      .optionsGroup(GROUP.run)
      .option("--out <folder>", "where checkpoints go; by default runs/ and a name that no run has")
      .addOption(
        integer("--keep <n>", 0, "newest checkpoints that stay, beside the best and one known to be sound; 0 for all").default(
          KEPT,
        ),
      )
      .option("--resume <path>", "continue the run of a checkpoint or run folder, bit for bit")
      .addOption(
        new Option(
          "--schedule-from <rate>",
          "with --resume: a new schedule for the steps that remain, from the rate reached or from the peak; by default " +
            "the old one goes on, stretched over --steps",
        ).choices(["reached", "peak"]),
      )
      .addOption(configOption('"gatewise info RUN --config" prints them'))
      .addOption(new Option("--time <time>", 'end after so long, such as "10m"').argParser(parseTime))
      .addOption(new Option("--init-from <path>", "begin a new run from a checkpoint's weights").conflicts(["resume"]))
      .addOption(
        new Option("--extend-vocabulary", "with --init-from: the model gets rows for characters that it does not know").conflicts(
          ["unknown"],
        ),
      )
      .addOption(
        new Option(
          "--unknown <how>",
          "with --init-from: characters that the model does not know are left out, or another stands for them",
        ).choices(UNKNOWN),
      ),
  ).action((_texts, _flags, self: Command) => run(train(self.opts(), self)));

  onDevice(
    command("sample", "write text with a trained model")
      .argument("<checkpoint>", "a checkpoint or a run's folder")
      .addOption(bestOption())
      .option("--prompt <text>", "text to continue", "")
      .addOption(new Option("--prompts <file>", 'texts to continue, one a line; "-" reads them from stdin').conflicts(["prompt"]))
      .addOption(integer("--length <n>", 0, "tokens to write, characters of a model of characters").default(300))
      .addOption(
        new Option("--temperature <x>", "1: the model's own distribution; less is safer; 0: the likeliest")
          .argParser(parseTemperature)
          .default(0.8),
      )
      .addOption(integer("--top-k <k>", 1, "choose among the k likeliest tokens"))
      .addOption(
        new Option("--top-p <p>", "choose among the likeliest that make up this probability").argParser(parseProbability),
      )
      .addOption(new Option("--seed <n>", "for the same text again").argParser(parseInteger(0, 2 ** 32 - 1)))
      .addOption(integer("--count <n>", 1, "texts to write, side by side").default(1)),
  ).action((path: string, flags) => run(sample(path, flags)));

  const evaluating = command(
    "eval",
    "say what a model's guesses cost on a text, by default its run's: loss, bits, perplexity, accuracy",
  );
  for (const option of dataOptions()) evaluating.addOption(option);
  onDevice(
    evaluating
      .argument("<checkpoint>", "a checkpoint or a run's folder")
      .addOption(bestOption())
      .addOption(
        new Option("--split <part>", "which part, cut as the run's; by default val, and of another text all").choices(SPLITS),
      )
      .addOption(evalCharsOption())
      .addOption(
        new Option("--unknown <how>", "characters that the model does not know are left out, or another stands for them").choices(
          UNKNOWN,
        ),
      ),
  ).action((path: string, flags) => run(evaluate(path, flags)));

  command("list", "list the runs in a folder, the newest first")
    .argument("[folder]", "where they are", "runs")
    .addOption(jsonOption())
    .action((folder: string, flags) => run(list(folder, flags)));

  command("plot", "draw the loss curves of one run or several, in the terminal and as SVG")
    .argument("<runs...>", "folders of runs")
    .option("--out <file>", "the SVG file; by default loss.svg in the run's folder, of several runs here")
    .addOption(jsonOption())
    .action((folders: string[], flags) => run(plot(folders, flags)));

  const comparing = command("compare", `train steps of the evolution on the same batches, such as ${GENERATIONS.join(", ")}`);
  onDevice(
    addTrainingFlags(
      withTexts(comparing).addOption(presetsOption(GENERATIONS)).addOption(tokenizersOption()).addOption(vocabSizeOption()),
      COMPARE_FLAGS,
      COMPARE_DEFAULTS,
    )
      .option("--prompt <text>", 'what each sample begins with; by default "Alice " where the text has these characters')
      .addOption(configOption("the lab copies them of a race"))
      .option("--markdown", "print the table as Markdown"),
  ).action((_texts, _flags, self: Command) => run(compare(self.opts(), self)));

  onDevice(
    command("memory", "train small models of about equal size on tasks that only memory solves")
      .addOption(new Option("--task <name>", "what to solve").choices([...TASK_NAMES, "all"]).default("recall"))
      .addOption(presetsOption(PRESET_NAMES))
      .addOption(new Option("--lag <n>", "steps to remember over; by default each task's own").argParser(parseInteger(1, 65536)))
      .addOption(integer("--steps <n>", 1, "training steps at most; by default each task's own"))
      .addOption(new Option("--seed <n>", "of the weights and draws").argParser(parseInteger(0, 2 ** 32 - 1)).default(1)),
  ).action((flags) => run(memory(flags)));

  onDevice(
    command("check", "check this device's gradients against the float64 reference and finite differences")
      .addOption(new Option("--cell <name>", "only this cell").choices(["all", ...Object.keys(CHECKED_CELLS)]).default("all"))
      .option("--quick", "seconds instead of a minute")
      .option("--model <path>", "also check a checkpoint's model, at its own size and weights")
      .addOption(new Option("--break <how>", "break the model on purpose, to see the check fail").choices([...BREAKAGES])),
    false,
  ).action((flags) => run(check(flags)));

  onDevice(
    command("bench", "measure kernels, training steps, sampling and scaling on this device; without flags all but DeepBench")
      .option("--kernel <name>", "only the kernels whose name contains this")
      .option("--train", "only training steps of the presets")
      .addOption(new Option("--hidden <sizes>", "their hidden sizes, such as 128,512").argParser(parseSizes))
      .option("--deepbench", "the training shapes of DeepBench, as far as they fit")
      .option("--sampling", "only writing text, character by character")
      .option("--scaling", "only how time grows with T, H and B")
      .addOption(integer("--rounds <n>", 1, "interleaved rounds").default(5))
      .addOption(integer("--seconds <n>", 1, "that one measurement may take; larger ones are left out").default(20))
      .option("--markdown <file>", "also write the report there"),
  ).action((flags) => run(bench(flags)));

  command("info", "say what a checkpoint holds")
    .argument("<checkpoint>", "a checkpoint or a run's folder")
    .addOption(bestOption())
    .option("--config", "only the options that make its run again, as train --config reads them")
    .addOption(jsonOption())
    .action((path: string, flags) => run(info(path, flags)));

  command("export", "write a checkpoint as files that others read")
    .argument("<checkpoint>", "a checkpoint or a run's folder")
    .argument("<folder>", "where the files go; none is overwritten")
    .addOption(new Option("--to <format>", "who reads them").choices(Object.keys(EXPORTS)).makeOptionMandatory())
    .addOption(jsonOption())
    .action((path: string, folder: string, flags) => run(exportCheckpoint(path, folder, flags)));

  addModelFlags(
    command("import", "make a checkpoint of a model that PyTorch or transformers saved")
      .argument("<path>", "a folder of export --to pytorch or of save_pretrained, or a .safetensors file")
      .option("--out <folder>", "where the checkpoint goes; by default runs/ and the folder's name")
      .option("--tokenizer <file>", "which character each token is: JSON of a tokenizer, by default the folder's tokenizer.json")
      .addOption(
        new Option("--data <text>", "the text whose characters the tokens are: a file, an address, or a book's name").conflicts([
          "tokenizer",
        ]),
      ),
    DESCRIBED,
  )
    .addOption(jsonOption())
    .action((path: string, flags, self: Command) => run(importModel(path, flags, self)));

  command("doctor", "say what this machine can do, and what is missing")
    .option("--verbose", "all that is known of the adapter, and what was tuned for which shapes")
    .addOption(jsonOption())
    .action((flags) => run(doctor(flags)));

  // Last in every command's help.
  for (const each of program.commands) each.addOption(rawOption());
  return program;
}

/** Does what the arguments ask for, says what is wrong, and returns the exit code. */
export async function runProgram(args: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = makeProgram((work) => work.then((code) => void (exitCode = code)));
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    // commander has printed its own message, or the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
    const message = error instanceof Error ? error.message : String(error);
    say(`gatewise: ${error instanceof GatewiseError ? inFlags(message) : message}`);
    return error instanceof GatewiseError ? EXIT_CODES[error.code] : FAILED;
  }
}
