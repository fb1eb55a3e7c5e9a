// The process that the command line is: its arguments, its streams, its end.
import { rerunWithAdapter } from "./checkout.ts";
import { runProgram } from "./program.ts";
import { flushOutput } from "./progress.ts";

// A reader that has seen enough (`| head`) closes the pipe: nothing to complain about.
process.stdout.on("error", () => {});
// A terminal that was closed takes no more messages; that must not end a run before it is saved.
process.stderr.on("error", () => {});
const code = (await rerunWithAdapter()) ?? (await runProgram(process.argv.slice(2)));
// What was written to a pipe must arrive; then the process must be ended, because Dawn would keep it.
await flushOutput();
process.exit(code);
