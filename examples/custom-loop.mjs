// node examples/custom-loop.mjs: a training loop of one's own. Ten steps at a time it evaluates on a text held back, keeps the
// best model, and goes back to it with half the learning rate where it got worse, three times at most.
import {
  CharTokenizer,
  LanguageModel,
  makeEvaluator,
  modelFromCheckpoint,
  resumeTrainer,
  saveCheckpoint,
  loadCheckpoint,
  Trainer,
} from "gatewise";
import { openNodeDevice } from "gatewise/node";

const text = "the rabbit saw the hat and the hat saw the rabbit. ".repeat(60);
const device = await openNodeDevice();
const tokenizer = CharTokenizer.fromText(text);
const tokens = tokenizer.encode(text);
const [learned, held] = [tokens.slice(0, -300), tokens.slice(-300)];

let learningRate = 3e-2;
let model = LanguageModel.create(device, { cell: "gru", vocabSize: tokenizer.size, hiddenSize: 32 });
let trainer = Trainer.create(model, learned, { tokenizer, batchSize: 8, seqLen: 16, learningRate, valFraction: 0 });
let best = Infinity;
let bytes = await saveCheckpoint(trainer);
for (let worse = 0; worse < 3 && trainer.step < 300;) {
  for await (const _ of trainer.run({ maxSteps: trainer.step + 10, exact: true }));
  const evaluator = await makeEvaluator(model, held, { batchSize: 1, seqLen: 16 });
  const { loss } = await evaluator.evaluate();
  evaluator.dispose();
  console.log(`step ${trainer.step}: ${loss.toFixed(4)} on what it never saw, at a rate of ${learningRate}`);
  if (loss < best) {
    [best, bytes] = [loss, await saveCheckpoint(trainer)];
    continue;
  }
  worse++;
  learningRate /= 2;
  trainer.dispose();
  model.dispose();
  const checkpoint = loadCheckpoint(bytes);
  model = modelFromCheckpoint(device, checkpoint);
  trainer = resumeTrainer(model, learned, checkpoint, { learningRate, totalSteps: 300 });
}
console.log(await model.sample(tokenizer, { prompt: "the ", length: 50, temperature: 0.5, seed: 1 }));
process.exit(); // Dawn, which brings WebGPU to Node, would keep the process.
