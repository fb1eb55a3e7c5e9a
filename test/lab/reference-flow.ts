// How far back gradients reach, by the library's own layer: some steps on and back, from many places of a text.
import { LanguageModel, openDevice, Recurrent } from "../../src/index.ts";
import type { ModelSnapshot } from "../../src/lab/protocol.ts";

/** The model as it was before its first step. */
export async function untrained(snapshot: ModelSnapshot): Promise<ModelSnapshot> {
  const device = await openDevice({ prefer: "cpu", precision: "float64" });
  const model = LanguageModel.create(device, { ...snapshot.config, seed: snapshot.seed });
  return { ...snapshot, stateDict: await model.stateDict() };
}

/**
 * ‖∂L/∂h(t − k)‖ of the top layer, and of what is carried beside it what step t − k finds, by the library's own: some steps
 * on from there and back. By lag, a number for each place.
 */
export async function referenceFlow(
  { config, stateDict }: ModelSnapshot,
  tokens: Uint32Array,
  lags: number,
  shown: readonly number[],
  count: number,
): Promise<{ readonly h: readonly number[][]; readonly c: readonly number[][] }> {
  const { cell, hiddenSize: H, vocabSize: V, embeddingSize: E, input, numLayers, resetAfter, nonlinearity } = config;
  const device = await openDevice({ prefer: "cpu", precision: "float64" });
  const inputSize = input === "embedding" ? E : V;
  const layer = Recurrent.create(device, { cell, inputSize, hiddenSize: H, numLayers, resetAfter, nonlinearity });
  layer.loadStateDict(
    Object.fromEntries(
      Object.entries(stateDict).flatMap(([name, values]) => (name.startsWith("rnn.") ? [[name.slice(4), values]] : [])),
    ),
  );
  const inputs = (from: number, to: number): Float64Array => {
    const x = new Float64Array((to - from) * inputSize);
    for (let t = from; t < to; t++) {
      if (input === "one-hot") x[(t - from) * V + tokens[t]!] = 1;
      else x.set(stateDict["embedding.weight"]!.subarray(tokens[t]! * E, (tokens[t]! + 1) * E), (t - from) * E);
    }
    return x;
  };
  const top = (states: Float32Array): Float32Array => states.subarray((numLayers - 1) * H);
  const norm = (values: ArrayLike<number>): number => Math.hypot(...Array.from(values));
  // What is held after each character.
  const held: { h0: Float32Array; c0?: Float32Array | undefined }[] = [];
  for (let t = 0; t < tokens.length - 1; t++) {
    const { hN, cN } = await layer.forward(inputs(t, t + 1), { T: 1, B: 1, ...held[t - 1] });
    held.push({ h0: hN, ...(cN && { c0: cN }) });
  }
  const [first, last] = [lags + 1, tokens.length - 2];
  const flow = { h: shown.map((): number[] => []), c: shown.map((): number[] => []) };
  for (let i = 0; i < count; i++) {
    const end = Math.round(first + ((last - first) * i) / (count - 1));
    const h = top(held[end]!.h0);
    const logits = Array.from({ length: V }, (_, v) => {
      let sum = stateDict["head.bias"]![v]!;
      for (let j = 0; j < H; j++) sum += stateDict["head.weight"]![v * H + j]! * h[j]!;
      return sum;
    });
    const most = Math.max(...logits);
    const total = logits.reduce((sum, x) => sum + Math.exp(x - most), 0);
    const dh = Float64Array.from({ length: H }, (_, j) =>
      logits.reduce(
        (sum, x, v) => sum + (Math.exp(x - most) / total - Number(v === tokens[end + 1])) * stateDict["head.weight"]![v * H + j]!,
        0,
      ),
    );
    const back = async (steps: number) => {
      const start = end + 1 - steps;
      await layer.forward(inputs(start, end + 1), { T: steps, B: 1, ...held[start - 1] });
      const dOutput = new Float64Array(steps * H);
      dOutput.set(dh, (steps - 1) * H);
      return layer.backward(dOutput);
    };
    for (const [s, lag] of shown.entries()) {
      flow.h[s]!.push(norm(lag === 0 ? dh : top((await back(lag)).dh0)));
      if (held[0]!.c0) flow.c[s]!.push(norm(top((await back(lag + 1)).dc0!)));
    }
  }
  device.dispose();
  return flow;
}

/** By lag, the median over all places of what the norm is in parts of that at the first lag. */
export const mediansOf = (norms: readonly number[][]): number[] =>
  norms.map((at) => {
    const parts = at.map((norm, place) => norm / norms[0]![place]!).sort((a, b) => a - b);
    return parts[Math.round((parts.length - 1) / 2)]!;
  });
