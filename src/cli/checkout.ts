import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

/** What is used of scripts/environment.mjs, which is part of a checkout but not of the package. */
type Setup = {
  readEnvironment(): object;
  adapterVariables(environment: object): Record<string, string>;
  runWithAdapter(program: string, args: readonly string[]): Promise<number>;
};

/**
 * In a checkout, the adapter that `npm run setup` found may come with libraries that a process can only load by its
 * environment at its start: then this runs the same command again with that environment and returns its exit code.
 * Returns undefined where there is nothing to do, above all in an installed package.
 */
export async function rerunWithAdapter(): Promise<number | undefined> {
  if (process.channel) {
    // This is the run again. Without the process that started it nobody could stop it: then it ends in good order.
    process.channel.unref();
    process.on("disconnect", () => process.kill(process.pid, "SIGTERM"));
    return undefined;
  }
  const program = realpathSync(process.argv[1] ?? "");
  const helper = join(dirname(dirname(program)), "scripts", "environment.mjs");
  if (!existsSync(helper)) return undefined;
  const setup: Setup = await import(/* @vite-ignore */ pathToFileURL(helper).href);
  const variables = Object.entries(setup.adapterVariables(setup.readEnvironment()));
  if (variables.every(([name, value]) => process.env[name] === value)) return undefined;
  return setup.runWithAdapter(program, process.argv.slice(2));
}
