// What worker.browser.test.ts runs in a worker: five training steps through the public library.
import { CharTokenizer, LanguageModel, openDevice, Trainer } from "../../src/index.ts";

async function train(): Promise<number[]> {
  const text = "the quick brown fox jumps over the lazy dog. ".repeat(20);
  const device = await openDevice({ prefer: "webgpu" });
  const tokenizer = CharTokenizer.fromText(text);
  const model = LanguageModel.create(device, { cell: "gru", vocabSize: tokenizer.size, hiddenSize: 8, embeddingSize: 4 });
  const trainer = Trainer.create(model, tokenizer.encode(text), {
    batchSize: 4,
    seqLen: 8,
    learningRate: 0.05,
    logInterval: 1,
    valFraction: 0,
  });
  const losses: number[] = [];
  for await (const event of trainer.run({ maxSteps: 5 })) if (event.event === "step") losses.push(event.loss);
  device.dispose();
  return losses;
}

train().then(postMessage, (error: unknown) => postMessage(String(error)));
