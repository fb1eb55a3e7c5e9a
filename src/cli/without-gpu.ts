// How fast the same training is without a GPU: what a run on an adapter that is software says at its end.
import { LanguageModel } from "../models/language-model.ts";
import { Trainer } from "../training/trainer.ts";
import { unitOf } from "./data.ts";
import { withDevice } from "./device.ts";
import type { Run } from "./keeper.ts";
import { count, say } from "./progress.ts";

/** Steps that are timed, after as many that are not. */
const STEPS = 8;

/** `rate`: tokens a second of the run that has ended. */
export async function compareWithWasm({ config, options, tokens, tokenizer }: Run, rate: number): Promise<void> {
  await withDevice({ device: "wasm" }, async (device) => {
    if (device.kind !== "wasm") return;
    const model = LanguageModel.create(device, { ...config, seed: options.seed });
    const trainer = Trainer.create(model, tokens, { ...options, evalInterval: 0, sampleInterval: 0, checkpointInterval: 0 });
    const train = async (maxSteps: number): Promise<void> => {
      for await (const _ of trainer.run({ maxSteps }));
    };
    await train(STEPS);
    const begun = performance.now();
    await train(2 * STEPS);
    const here = (STEPS * options.batchSize * options.seqLen) / ((performance.now() - begun) / 1000);
    const times = here > rate ? `, ${(here / rate).toPrecision(2)} times as many` : "";
    say(
      `without a GPU: --device wasm trains about ${count(Number(here.toPrecision(2)))} ${unitOf(tokenizer)}s a second here${times}`,
    );
    trainer.dispose();
    model.dispose();
  });
}
