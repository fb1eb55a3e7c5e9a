// node examples/node.mjs: a network learns a sentence, and writes.
import { CharTokenizer, LanguageModel, Trainer } from "gatewise";
import { openNodeDevice } from "gatewise/node";

const text = "the rabbit saw the hat and the hat saw the rabbit. ".repeat(40);
const device = await openNodeDevice();
const tokenizer = CharTokenizer.fromText(text);
const model = LanguageModel.create(device, { cell: "gru", vocabSize: tokenizer.size, hiddenSize: 32 });
const trainer = Trainer.create(model, tokenizer.encode(text), { batchSize: 8, seqLen: 16, learningRate: 1e-2, valFraction: 0 });
for await (const event of trainer.run({ maxSteps: 200 })) if (event.event === "step") console.log(event.step, event.loss);
console.log(await model.sample(tokenizer, { prompt: "the ", length: 50, temperature: 0.5, seed: 1 }));
process.exit(); // Dawn, which brings WebGPU to Node, would keep the process.
