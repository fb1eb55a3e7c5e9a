// Twenty steps as a user of the package would write them: the losses, by whatever runs this.
import { CharTokenizer, LanguageModel, openDevice, Trainer } from "gatewise";

const TEXT = "the rabbit saw the hat and the hat saw the rabbit. ".repeat(40);

export async function train(prefer = "wasm") {
  const device = await openDevice({ prefer, simd: "plain" });
  if (device.kind !== prefer) throw new Error(device.fallbackReason);
  const tokenizer = CharTokenizer.fromText(TEXT);
  const model = LanguageModel.create(device, { cell: "lstm", vocabSize: tokenizer.size, hiddenSize: 16, embeddingSize: 8 });
  const options = { batchSize: 4, seqLen: 16, learningRate: 1e-2, valFraction: 0, sampleInterval: 0, logInterval: 1 };
  const trainer = Trainer.create(model, tokenizer.encode(TEXT), options);
  const losses = [];
  for await (const event of trainer.run({ maxSteps: 20 })) if (event.event === "step") losses.push(event.loss);
  trainer.dispose();
  model.dispose();
  device.dispose();
  return losses;
}
