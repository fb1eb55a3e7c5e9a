// What a training run must give, written out in plain loops in float64 from the formulas alone: nothing of src is used
// here, so that no fault of the product can stand on both sides of a comparison. Slow, and meant for small sizes.

export interface OracleOptions {
  readonly cell: "rnn" | "gru" | "lstm";
  readonly resetAfter: boolean;
  readonly nonlinearity: "tanh" | "relu";
  readonly input: "embedding" | "one-hot";
  readonly vocabSize: number;
  readonly embeddingSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  readonly dropout: number;
  readonly batchSize: number;
  readonly seqLen: number;
  readonly loss: "all" | "last";
  readonly state: "carry" | "zero";
  readonly optimizer: "adam" | "adamw" | "rmsprop" | "sgd";
  readonly learningRate: number;
  readonly momentum: number;
  readonly weightDecay: number;
  readonly schedule: "constant" | "cosine" | "step";
  readonly warmupSteps: number;
  readonly totalSteps: number;
  readonly clip: number;
  readonly valFraction: number;
  readonly seed: number;
  readonly evalInterval: number;
}

/** Parameters, gradients and moments by PyTorch's names, each dense in PyTorch's order. */
export type Values = Record<string, Float64Array>;

export type OracleEvent =
  | { readonly event: "step"; step: number; loss: number; learningRate: number; gradNorm: number }
  | {
      readonly event: "eval";
      step: number;
      valLoss: number;
      valBitsPerToken: number;
      valBpc: number;
      valAccuracy: number;
      best: boolean;
    };

const GATES = { rnn: 1, gru: 3, lstm: 4 } as const;
const zeros = (n: number): Float64Array => new Float64Array(n);
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

// --- Random numbers: pcg4d (Jarzynski and Olano 2020), by 32-bit arithmetic on BigInts.

const STREAMS = { init: 1, dropout: 2, windows: 4 } as const;
const wrap = (x: bigint): bigint => x & 0xffffffffn;

/** Four random words of 32 bits for a counter of four. */
export function randomWords(counter: readonly number[]): number[] {
  let [x, y, z, w] = counter.map((n) => wrap(BigInt(n) * 1664525n + 1013904223n)) as [bigint, bigint, bigint, bigint];
  const mix = (): void => {
    x = wrap(x + y * w);
    y = wrap(y + z * x);
    z = wrap(z + x * y);
    w = wrap(w + y * z);
  };
  mix();
  [x, y, z, w] = [x ^ (x >> 16n), y ^ (y >> 16n), z ^ (z >> 16n), w ^ (w >> 16n)];
  mix();
  return [x, y, z, w].map(Number);
}

/** The upper 24 bits of a word as a number in [0, 1). */
const fraction = (word: number): number => Math.floor(word / 256) / 2 ** 24;

/** Initial values of parameter number `index`: N(0, 1), or uniform up to `bound`; rounded to float32. */
export function initial(size: number, seed: number, index: number, bound?: number): Float64Array {
  return Float64Array.from({ length: size }, (_, i) => {
    const [a, b] = randomWords([seed, index, i, STREAMS.init]) as [number, number];
    if (bound !== undefined) return Math.fround((2 * fraction(a) - 1) * bound);
    return Math.fround(Math.sqrt(-2 * Math.log((a + 1) / (2 ** 32 + 1))) * Math.cos((2 * Math.PI * b) / 2 ** 32));
  });
}

/** The parameters of a new language model under `seed`, in order. */
export function initialParameters(o: OracleOptions, seed: number): Values {
  const { vocabSize: V, embeddingSize: E, hiddenSize: H, numLayers } = o;
  const G = GATES[o.cell] * H;
  const bound = 1 / Math.sqrt(H);
  const shapes: [string, number][] = o.input === "embedding" ? [["embedding.weight", V * E]] : [];
  for (let l = 0; l < numLayers; l++) {
    const inputSize = l > 0 ? H : o.input === "embedding" ? E : V;
    shapes.push([`rnn.weight_ih_l${l}`, G * inputSize], [`rnn.weight_hh_l${l}`, G * H]);
    shapes.push([`rnn.bias_ih_l${l}`, G], [`rnn.bias_hh_l${l}`, G]);
  }
  shapes.push(["head.weight", V * H], ["head.bias", V]);
  return Object.fromEntries(
    shapes.map(([name, size], i) => [name, initial(size, seed, i, name.startsWith("embedding") ? undefined : bound)]),
  );
}

// --- One step of a cell. `w` and `g` are a layer's weights and their gradients.

interface Weights {
  readonly ih: Float64Array;
  readonly hh: Float64Array;
  readonly bih: Float64Array;
  readonly bhh: Float64Array;
}
interface State {
  readonly h: Float64Array;
  readonly c: Float64Array;
}
interface StepResult extends State {
  /** From the gradients of h and c after the step to those of x, h and c before it; adds to `g`. */
  backward(g: Weights, dh: Float64Array, dc: Float64Array): { dx: Float64Array; dh: Float64Array; dc: Float64Array };
}

/** W x + b. */
function affine(W: Float64Array, b: Float64Array, x: Float64Array): Float64Array {
  return b.map((bias, j) => {
    let sum = bias;
    for (let k = 0; k < x.length; k++) sum += W[j * x.length + k]! * x[k]!;
    return sum;
  });
}

/** dx of y = W x + b; adds dW and db to `gW` and `gb`. */
function affineBackward(W: Float64Array, gW: Float64Array, gb: Float64Array, x: Float64Array, dy: Float64Array): Float64Array {
  const dx = zeros(x.length);
  for (let j = 0; j < dy.length; j++) {
    gb[j]! += dy[j]!;
    for (let k = 0; k < x.length; k++) {
      gW[j * x.length + k]! += dy[j]! * x[k]!;
      dx[k]! += W[j * x.length + k]! * dy[j]!;
    }
  }
  return dx;
}

const add = (a: Float64Array, b: Float64Array): Float64Array => a.map((x, i) => x + b[i]!);

function rnnStep(o: OracleOptions, w: Weights, x: Float64Array, { h, c }: State): StepResult {
  const relu = o.nonlinearity === "relu";
  const a = add(affine(w.ih, w.bih, x), affine(w.hh, w.bhh, h));
  const next = a.map((v) => (relu ? Math.max(0, v) : Math.tanh(v)));
  return {
    h: next,
    c,
    backward(g, dNext) {
      const da = dNext.map((d, u) => d * (relu ? (a[u]! > 0 ? 1 : 0) : 1 - next[u]! ** 2));
      return {
        dx: affineBackward(w.ih, g.ih, g.bih, x, da),
        dh: affineBackward(w.hh, g.hh, g.bhh, h, da),
        dc: zeros(h.length),
      };
    },
  };
}

function lstmStep(_: OracleOptions, w: Weights, x: Float64Array, { h, c }: State): StepResult {
  const H = h.length;
  const a = add(affine(w.ih, w.bih, x), affine(w.hh, w.bhh, h));
  const i = a.subarray(0, H).map(sigmoid);
  const f = a.subarray(H, 2 * H).map(sigmoid);
  const g = a.subarray(2 * H, 3 * H).map(Math.tanh);
  const o = a.subarray(3 * H).map(sigmoid);
  const nextC = c.map((old, u) => f[u]! * old + i[u]! * g[u]!);
  return {
    h: nextC.map((value, u) => o[u]! * Math.tanh(value)),
    c: nextC,
    backward(grad, dNext, dNextC) {
      const da = zeros(4 * H);
      const dc = zeros(H);
      for (let u = 0; u < H; u++) {
        const t = Math.tanh(nextC[u]!);
        const total = dNextC[u]! + dNext[u]! * o[u]! * (1 - t * t);
        da[u] = total * g[u]! * i[u]! * (1 - i[u]!);
        da[H + u] = total * c[u]! * f[u]! * (1 - f[u]!);
        da[2 * H + u] = total * i[u]! * (1 - g[u]! ** 2);
        da[3 * H + u] = dNext[u]! * t * o[u]! * (1 - o[u]!);
        dc[u] = total * f[u]!;
      }
      return {
        dx: affineBackward(w.ih, grad.ih, grad.bih, x, da),
        dh: affineBackward(w.hh, grad.hh, grad.bhh, h, da),
        dc,
      };
    },
  };
}

function gruStep({ resetAfter }: OracleOptions, w: Weights, x: Float64Array, { h, c }: State): StepResult {
  const H = h.length;
  const gates = (W: Weights) => ({ hh: W.hh.subarray(0, 2 * H * H), bhh: W.bhh.subarray(0, 2 * H) });
  const candidate = (W: Weights) => ({ hh: W.hh.subarray(2 * H * H), bhh: W.bhh.subarray(2 * H) });
  const fromX = affine(w.ih, w.bih, x);
  const rz = add(fromX.subarray(0, 2 * H), affine(gates(w).hh, gates(w).bhh, h)).map(sigmoid);
  const r = rz.subarray(0, H);
  const z = rz.subarray(H);
  const read = resetAfter ? h : h.map((v, u) => r[u]! * v);
  const product = affine(candidate(w).hh, candidate(w).bhh, read);
  const n = fromX.subarray(2 * H).map((v, u) => Math.tanh(v + (resetAfter ? r[u]! : 1) * product[u]!));
  return {
    h: n.map((v, u) => (1 - z[u]!) * v + z[u]! * h[u]!),
    c,
    backward(g, dNext) {
      const dan = dNext.map((d, u) => d * (1 - z[u]!) * (1 - n[u]! ** 2));
      const dProduct = dan.map((d, u) => d * (resetAfter ? r[u]! : 1));
      const dRead = affineBackward(candidate(w).hh, candidate(g).hh, candidate(g).bhh, read, dProduct);
      const da = zeros(3 * H);
      for (let u = 0; u < H; u++) {
        const dr = resetAfter ? dan[u]! * product[u]! : dRead[u]! * h[u]!;
        da[u] = dr * r[u]! * (1 - r[u]!);
        da[H + u] = dNext[u]! * (h[u]! - n[u]!) * z[u]! * (1 - z[u]!);
        da[2 * H + u] = dan[u]!;
      }
      const throughGates = affineBackward(gates(w).hh, gates(g).hh, gates(g).bhh, h, da.subarray(0, 2 * H));
      return {
        dx: affineBackward(w.ih, g.ih, g.bih, x, da),
        dh: throughGates.map((d, u) => d + dNext[u]! * z[u]! + dRead[u]! * (resetAfter ? 1 : r[u]!)),
        dc: zeros(H),
      };
    },
  };
}

const STEPS = { rnn: rnnStep, gru: gruStep, lstm: lstmStep };

// --- One row of a batch: forward, loss and backward through time.

const layerOf = (values: Values, l: number): Weights => ({
  ih: values[`rnn.weight_ih_l${l}`]!,
  hh: values[`rnn.weight_hh_l${l}`]!,
  bih: values[`rnn.bias_ih_l${l}`]!,
  bhh: values[`rnn.bias_hh_l${l}`]!,
});

interface Row {
  /** Nats of each predicted token. */
  readonly losses: readonly number[];
  /** Predicted tokens that were the first guess. */
  readonly correct: number;
  readonly state: readonly State[];
}

/**
 * Runs `inputs` from `state` and predicts `targets` (undefined where nothing is predicted). `mask` says by what an
 * output between layers is multiplied; gradients of the losses, each weighed by `scale`, are added to `g`.
 */
function runRow(
  o: OracleOptions,
  p: Values,
  inputs: ArrayLike<number>,
  targets: ArrayLike<number | undefined>,
  state: readonly State[],
  mask: (l: number, t: number, unit: number) => number = () => 1,
  g?: Values,
  scale = 0,
): Row {
  const { vocabSize: V, embeddingSize: E, hiddenSize: H, numLayers: L } = o;
  const T = inputs.length;
  const steps: StepResult[][] = [];
  const tops: Float64Array[] = [];
  let now = state;
  for (let t = 0; t < T; t++) {
    let x =
      o.input === "embedding"
        ? p["embedding.weight"]!.slice(inputs[t]! * E, (inputs[t]! + 1) * E)
        : zeros(V).fill(1, inputs[t]!, inputs[t]! + 1);
    const made: StepResult[] = [];
    for (let l = 0; l < L; l++) {
      if (l > 0) x = x.map((v, u) => v * mask(l, t, u));
      const step = STEPS[o.cell](o, layerOf(p, l), x, now[l]!);
      made.push(step);
      x = step.h;
    }
    steps.push(made);
    now = made;
    tops.push(x);
  }
  const losses: number[] = [];
  let correct = 0;
  const dTops = tops.map((h, t) => {
    const target = targets[t];
    if (target === undefined) return zeros(H);
    const logits = affine(p["head.weight"]!, p["head.bias"]!, h);
    const exponentials = logits.map(Math.exp);
    const total = exponentials.reduce((a, b) => a + b, 0);
    losses.push(Math.log(total) - logits[target]!);
    if (logits.indexOf(Math.max(...logits)) === target) correct++;
    if (!g) return h;
    const dLogits = exponentials.map((e, v) => scale * (e / total - (v === target ? 1 : 0)));
    return affineBackward(p["head.weight"]!, g["head.weight"]!, g["head.bias"]!, h, dLogits);
  });
  if (g) {
    let later = Array.from({ length: L }, () => ({ dh: zeros(H), dc: zeros(H) }));
    for (let t = T - 1; t >= 0; t--) {
      let dOut = dTops[t]!;
      const earlier = [...later];
      for (let l = L - 1; l >= 0; l--) {
        const { dx, dh, dc } = steps[t]![l]!.backward(layerOf(g, l), add(dOut, later[l]!.dh), later[l]!.dc);
        earlier[l] = { dh, dc };
        dOut = l > 0 ? dx.map((d, u) => d * mask(l, t, u)) : dx;
      }
      later = earlier;
      if (o.input === "embedding") for (let e = 0; e < E; e++) g["embedding.weight"]![inputs[t]! * E + e]! += dOut[e]!;
    }
  }
  return { losses, correct, state: now };
}

const zeroState = ({ numLayers, hiddenSize }: OracleOptions): State[] =>
  Array.from({ length: numLayers }, () => ({ h: zeros(hiddenSize), c: zeros(hiddenSize) }));

// --- Evaluation, schedule, optimizers.

/**
 * Loss and accuracy over a text: cut into as many streams as leave each 1,024 tokens, at most a batch's, every token but
 * the first predicted once. All streams read equally many tokens, each but the first of them 128 of the one before it first,
 * or a quarter of its share if that is less, from a zero state and without a prediction.
 */
export function evaluate(o: OracleOptions, p: Values, tokens: ArrayLike<number>): { loss: number; accuracy: number } {
  const text = Array.from(tokens);
  const predicted = text.length - 1;
  const streams = Math.max(1, Math.min(o.batchSize, Math.floor(text.length / 1024)));
  const before = Math.min(128, Math.floor(Math.ceil(predicted / streams) / 4));
  const own = Math.ceil((predicted - before) / streams);
  let loss = 0;
  let correct = 0;
  for (let stream = 0; stream < streams; stream++) {
    const from = stream * own;
    const to = Math.min(from + before + own, predicted);
    const targets = text.slice(from + 1, to + 1).map((token, t) => (stream > 0 && t < before ? undefined : token));
    const row = runRow(o, p, text.slice(from, to), targets, zeroState(o));
    loss += row.losses.reduce((a, b) => a + b, 0);
    correct += row.correct;
  }
  return { loss: loss / predicted, accuracy: correct / predicted };
}

/** The learning rate of the step that makes `done` steps `done + 1`. */
export function learningRate(o: OracleOptions, done: number): number {
  if (done < o.warmupSteps) return (o.learningRate / o.warmupSteps) * (done + 1);
  const part = Math.min(1, (done - o.warmupSteps) / Math.max(1, o.totalSteps - o.warmupSteps));
  if (o.schedule === "cosine") return o.learningRate * (0.1 + 0.9 * Math.cos((Math.PI / 2) * part) ** 2);
  if (o.schedule === "step") return o.learningRate / [1, 2, 4, 8, 8][Math.floor(part * 4)]!;
  return o.learningRate;
}

function update(o: OracleOptions, p: Values, g: Values, m: Values, v: Values, factor: number, done: number): void {
  const rate = learningRate(o, done);
  for (const name of Object.keys(p)) {
    for (let i = 0; i < p[name]!.length; i++) {
      const value = p[name]![i]!;
      const slope = g[name]![i]! * factor + (o.optimizer === "adamw" ? 0 : o.weightDecay * value);
      let first = m[name]![i]!;
      let second = v[name]![i]!;
      let step: number;
      switch (o.optimizer) {
        case "sgd":
          first = o.momentum * first + slope;
          step = first;
          break;
        case "rmsprop":
          second = 0.99 * second + 0.01 * slope ** 2;
          step = slope / (Math.sqrt(second) + 1e-8);
          break;
        default:
          first = 0.9 * first + 0.1 * slope;
          second = 0.999 * second + 0.001 * slope ** 2;
          step = first / (1 - 0.9 ** (done + 1)) / (Math.sqrt(second / (1 - 0.999 ** (done + 1))) + 1e-8);
          if (o.optimizer === "adamw") step += o.weightDecay * value;
      }
      m[name]![i] = first;
      v[name]![i] = second;
      p[name]![i] = value - rate * step;
    }
  }
}

// --- The run.

/** Where row b of step `done` begins in the training part. */
function windowStart(o: OracleOptions, trainTokens: number, done: number, b: number): number {
  if (o.state === "zero") {
    const word = randomWords([o.seed, done, b, STREAMS.windows])[0]!;
    return Math.floor((word / 2 ** 32) * (trainTokens - o.seqLen));
  }
  const stream = Math.floor((trainTokens - 1) / o.batchSize);
  return b * stream + (done % Math.floor(stream / o.seqLen)) * o.seqLen;
}

/** What dropout multiplies an output with: the mask belongs to the step, the reading layer and the element's place. */
function dropoutMask(o: OracleOptions, done: number, b: number): (l: number, t: number, unit: number) => number {
  const width = Math.ceil(o.hiddenSize / 4) * 4;
  return (l, t, unit) => {
    const element = (t * o.batchSize + b) * width + unit;
    const words = randomWords([o.seed, done, Math.floor(element / 4), l * 256 + STREAMS.dropout]);
    return fraction(words[element % 4]!) < o.dropout ? 0 : 1 / (1 - o.dropout);
  };
}

/** Trains `p` in place for `steps` steps and returns what happened. */
export function train(o: OracleOptions, p: Values, tokens: ArrayLike<number>, steps: number): OracleEvent[] {
  const events: OracleEvent[] = [];
  const text = Array.from(tokens);
  const val = text.slice(text.length - Math.floor(text.length * o.valFraction));
  const training = text.slice(0, text.length - val.length);
  const { batchSize: B, seqLen: T } = o;
  const like = (): Values => Object.fromEntries(Object.entries(p).map(([name, values]) => [name, zeros(values.length)]));
  const [m, v] = [like(), like()];
  const perEpoch = Math.floor(Math.floor((training.length - 1) / B) / T);
  let states = Array.from({ length: B }, () => zeroState(o));
  let bestLoss = Infinity;
  for (let done = 0; done < steps; done++) {
    const g = like();
    const predicted = o.loss === "all" ? B * T : B;
    let loss = 0;
    if (o.state === "zero" || done % perEpoch === 0) states = states.map(() => zeroState(o));
    states = states.map((state, b) => {
      const from = windowStart(o, training.length, done, b);
      const targets = Array.from({ length: T }, (_, t) => (o.loss === "all" || t === T - 1 ? training[from + t + 1] : undefined));
      const mask = o.dropout > 0 ? dropoutMask(o, done, b) : undefined;
      const row = runRow(o, p, training.slice(from, from + T), targets, state, mask, g, 1 / predicted);
      loss += row.losses.reduce((a, c) => a + c, 0) / predicted;
      return row.state.map(({ h, c }) => ({ h, c }));
    });
    const gradNorm = Math.sqrt(
      Object.values(g)
        .map((values) => values.reduce((sum, x) => sum + x * x, 0))
        .reduce((a, b) => a + b, 0),
    );
    update(o, p, g, m, v, o.clip > 0 ? Math.min(1, o.clip / (gradNorm + 1e-6)) : 1, done);
    const step = done + 1;
    events.push({ event: "step", step, loss, learningRate: learningRate(o, done), gradNorm });
    if (o.evalInterval > 0 && val.length > 1 && (step % o.evalInterval === 0 || step === steps)) {
      const { loss: valLoss, accuracy } = evaluate(o, p, val);
      events.push({
        event: "eval",
        step,
        valLoss,
        valBitsPerToken: valLoss / Math.log(2),
        valBpc: valLoss / Math.log(2),
        valAccuracy: accuracy,
        best: valLoss < bestLoss,
      });
      bestLoss = Math.min(bestLoss, valLoss);
    }
  }
  return events;
}
