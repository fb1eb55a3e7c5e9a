// Trains in a worker, so that a page stays free: new Worker(new URL("./worker.mjs", import.meta.url), { type: "module" }).
// It is sent { text, steps }, and answers with the events of the training and at last with a checkpoint's bytes.
import { CharTokenizer, LanguageModel, openDevice, saveCheckpoint, Trainer } from "gatewise";

addEventListener("message", async ({ data: { text, steps } }) => {
  const device = await openDevice();
  const tokenizer = CharTokenizer.fromText(text);
  const model = LanguageModel.create(device, { cell: "lstm", vocabSize: tokenizer.size, hiddenSize: 32 });
  const trainer = Trainer.create(model, tokenizer.encode(text), { tokenizer, batchSize: 8, seqLen: 16, learningRate: 1e-2 });
  for await (const event of trainer.run({ maxSteps: steps })) postMessage(event);
  postMessage(await saveCheckpoint(trainer));
});
