// Computes what the views show, beside the training worker, so that neither the page nor training waits for it.
import * as Comlink from "comlink";
import { CharTokenizer } from "../data/tokenizer.ts";
import { connectivity, principalPlane, reportUnits, type Connectivity, type Projection, type UnitReport } from "./analysis.ts";
import { tryMemory } from "./memory-training.ts";
import { breakModel, type BreakageName, type Breakdown } from "./breakage.ts";
import type { ModelSnapshot } from "./protocol.ts";
import { freshSnapshot } from "./snapshot.ts";
import { gradientByLag, traceModel, type Trace } from "./trace.ts";

const tokenizerOf = (snapshot: ModelSnapshot): CharTokenizer => CharTokenizer.fromJSON(snapshot.tokenizer);

const inspector = {
  /** Reads a passage, after a line break, and says what the model expected at each of its characters. */
  predictions(
    snapshot: ModelSnapshot,
    passage: string,
  ): { readonly probabilities: Float32Array; readonly surprise: Float32Array } {
    const tokenizer = tokenizerOf(snapshot);
    const tokens = tokenizer.encode(passage);
    const start = tokenizer.characters.includes("\n") ? tokenizer.encode("\n")[0]! : 0;
    const { probabilities } = traceModel(snapshot, [start, ...tokens.slice(0, -1)]);
    const V = tokenizer.size;
    const surprise = Float32Array.from(tokens, (token, t) => -Math.log2(Math.max(1e-12, probabilities[t * V + token]!)));
    return Comlink.transfer({ probabilities, surprise }, [probabilities.buffer, surprise.buffer]);
  },
  /** Every gate and state over a passage. */
  trace(snapshot: ModelSnapshot, passage: string): Trace {
    const trace = traceModel(snapshot, tokenizerOf(snapshot).encode(passage));
    const { probabilities, sums, values } = trace;
    const arrays = [probabilities, sums.input, sums.state, ...Object.values(values)];
    return Comlink.transfer(
      trace,
      arrays.map((array) => array.buffer),
    );
  },
  /** Gradient norms by lag over a longer text: of the model as it is, and as it began. */
  async gradientFlow(snapshot: ModelSnapshot, text: string, lags: number): Promise<GradientFlow> {
    const tokens = tokenizerOf(snapshot).encode(text);
    const begun = gradientByLag(await freshSnapshot(snapshot), tokens, lags);
    return { now: Array.from(gradientByLag(snapshot, tokens, lags)), begun: Array.from(begun) };
  },
  /** The characters' learned vectors on the plane that shows most of their differences. */
  embeddings({ config, stateDict }: ModelSnapshot): Projection {
    return principalPlane(stateDict["embedding.weight"]!, config.vocabSize, config.embeddingSize);
  },
  /** What every unit does over a longer text, and what it follows best. */
  units: (snapshot: ModelSnapshot, text: string): UnitReport => reportUnits(snapshot, text, tokenizerOf(snapshot).encode(text)),
  connectivity: (snapshot: ModelSnapshot, passage: string, at: number): Promise<Connectivity> =>
    connectivity(snapshot, tokenizerOf(snapshot).encode(passage), at),
  tryMemory,
  breakModel: (snapshot: ModelSnapshot, name: BreakageName, text: string): Promise<Breakdown> =>
    breakModel(snapshot, name, tokenizerOf(snapshot), text),
};
export type Inspector = typeof inspector;

export interface GradientFlow {
  /** ‖∂L/∂h(t − k)‖ by lag k. */
  readonly now: readonly number[];
  readonly begun: readonly number[];
}

Comlink.expose(inspector);
