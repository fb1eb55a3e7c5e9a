// Sampling: one time step a character, the state and the choice on the device, tokens read back in blocks.
import { checkOptions, checkTokens, copyTokens, given, isSignal, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { CHOOSE, sample, sampleSettings } from "../kernels/sample.ts";
import type { Plan } from "../runtime/device.ts";
import type { Recorder } from "../runtime/recorder.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { makeHead, makeState, modelStack, tokenInput, type ModelParts } from "./pass.ts";

/** What sampling needs of a tokenizer. */
export interface TextCodec {
  /** V, the number of tokens. */
  readonly size: number;
  /** A text's tokens. */
  encode(text: string): Uint32Array;
  /** The tokens' text. */
  decode(tokens: ArrayLike<number>): string;
}

/** How text is sampled. */
export interface SampleOptions {
  /** Text to continue; with "", the default, the model begins on a new line. */
  readonly prompt?: string;
  /** Tokens to sample after the prompt, characters of a model of characters; 300 by default. */
  readonly length?: number;
  /** 1 samples from the model's distribution, less sharpens it, 0 takes the most likely character; 0.8 by default. */
  readonly temperature?: number;
  /** Keep the K most likely characters only; 0, the default, for all. */
  readonly topK?: number;
  /** Keep the smallest set of most likely characters whose probabilities add up to P; 1, the default, for all. */
  readonly topP?: number;
  /** The same seed gives the same text on the same device; 1 by default. */
  readonly seed?: number;
  /** Samples to draw, side by side in one batch; 1 by default. */
  readonly count?: number;
  /** Ends it with its reason. */
  readonly signal?: AbortSignal;
  /** Called with each new piece of text of sample `index`, for live output. */
  readonly onText?: (text: string, index: number) => void;
}

/** Characters between two read-backs. */
const BLOCK = 64;

export const SAMPLE_DEFAULTS = {
  prompt: "",
  length: 300,
  temperature: 0.8,
  topK: 0,
  topP: 1,
  seed: 1,
  count: 1,
  signal: undefined,
  onText: undefined,
} as const satisfies Record<keyof SampleOptions, unknown>;
type Settings = Required<Omit<SampleOptions, "signal" | "onText">> & Pick<SampleOptions, "signal" | "onText">;

/** Fills in defaults and checks every option. @throws GatewiseError E_CONFIG */
export function sampleSettingsOf(options: SampleOptions): Settings {
  checkOptions("sample", options, Object.keys(SAMPLE_DEFAULTS));
  const settings: Settings = { ...SAMPLE_DEFAULTS, ...given(options ?? {}) };
  const { prompt, length, temperature, topK, topP, seed, count, signal, onText } = settings;
  const integer = (value: number, least: number, most = Infinity): boolean =>
    Number.isInteger(value) && value >= least && value <= most;
  const check = (ok: boolean, name: keyof Settings, expected: string): void => {
    if (!ok) throw new GatewiseError("E_CONFIG", `sample: expected ${expected}, got ${name} ${shown(settings[name])}`);
  };
  check(typeof prompt === "string", "prompt", "a string");
  check(integer(length, 0), "length", "an integer of at least 0");
  check(Number.isFinite(temperature) && temperature >= 0, "temperature", "a number of at least 0");
  check(integer(topK, 0), "topK", "an integer of at least 1, or 0 for no limit");
  check(Number.isFinite(topP) && topP > 0 && topP <= 1, "topP", "more than 0 and at most 1");
  check(integer(count, 1, 65536), "count", "an integer from 1 to 65536");
  check(integer(seed, 0, 2 ** 32 - 1), "seed", "an integer from 0 to 4294967295");
  check(signal === undefined || isSignal(signal), "signal", "an AbortSignal");
  check(onText === undefined || typeof onText === "function", "onText", "a function");
  return settings;
}

/** @throws GatewiseError E_CONFIG unless `codec` is a tokenizer of the model's vocabulary */
function checkCodec(codec: TextCodec, V: number): void {
  if (typeof codec?.encode !== "function" || typeof codec.decode !== "function")
    throw new GatewiseError("E_CONFIG", `sample: expected a tokenizer with size, encode and decode, got ${shown(codec)}`);
  if (codec.size !== V)
    throw new GatewiseError(
      "E_CONFIG",
      `sample: expected the model's own tokenizer, got tokenizer of ${shown(codec.size)} tokens for a model of ${V}`,
    );
}

/**
 * Checks what a sample is asked for, and returns what draws it.
 *
 * @throws GatewiseError E_DATA for a prompt with unknown characters, E_CONFIG for options that are unknown or out of range
 */
export function prepareSample(
  model: ModelParts,
  codec: TextCodec,
  options: SampleOptions,
): { readonly draw: () => Promise<readonly string[]>; readonly signal: AbortSignal | undefined } {
  const settings = sampleSettingsOf(options);
  const V = model.config.vocabSize;
  checkCodec(codec, V);
  const prompt = copyTokens("sample: the prompt", codec.encode(settings.prompt), V);
  return { draw: () => drawTexts(model, codec, prompt, settings), signal: settings.signal };
}

async function drawTexts(
  model: ModelParts,
  codec: TextCodec,
  promptTokens: Uint32Array,
  { prompt, length, temperature, topK, topP, seed, count, signal, onText }: Settings,
): Promise<readonly string[]> {
  signal?.throwIfAborted();
  const texts = Array.from({ length: count }, () => prompt);
  if (length === 0) return texts;
  const untold: number[][] = texts.map(() => []);
  const lead = promptTokens.length > 0 ? promptTokens : Uint32Array.of(firstToken(codec));

  const plan = await recordSampling(model, count, signal);
  const tensors = plan.made;
  try {
    const forced = new Uint32Array(BLOCK * count);
    let tokens = new Uint32Array((BLOCK + 1) * count).fill(lead[0]!) as Uint32Array;
    // Step s reads token s and yields token s + 1.
    const steps = lead.length + length - 1;
    for (let done = 0; done < steps; done += BLOCK) {
      signal?.throwIfAborted();
      for (let i = 0; i < BLOCK; i++) forced.fill(lead[done + i + 1] ?? CHOOSE, i * count, (i + 1) * count);
      model.device.write(tensors.tokens, tokens);
      model.device.write(tensors.forced, forced);
      model.device.write(tensors.settings, sampleSettings({ seed, position: done, topK, temperature, topP }));
      tokens = (await plan.runAndRead(tensors.tokens, signal)) as Uint32Array;
      const from = Math.max(0, lead.length - 1 - done);
      const to = Math.min(BLOCK, steps - done);
      for (let index = 0; index < count; index++) {
        const chosen = Array.from({ length: Math.max(0, to - from) }, (_, i) => tokens[(from + i + 1) * count + index]!);
        if (chosen.includes(CHOOSE)) {
          throw new GatewiseError(
            "E_NAN_LOSS",
            `sample: after ${done + from + chosen.indexOf(CHOOSE) + 1} characters the model's output is not finite; ` +
              `its parameters have grown too large or are not finite: take an earlier checkpoint, or train anew with a clip`,
          );
        }
        untold[index]!.push(...chosen);
        const text = codec.decode(untold[index]!);
        // The rest of a last character may be among the next tokens.
        if (text.endsWith("\uFFFD") && done + BLOCK < steps) continue;
        untold[index] = [];
        texts[index] += text;
        if (text) onText?.(text, index);
      }
      // The last token of a block is the first input of the next.
      tokens.copyWithin(0, BLOCK * count);
    }
  } finally {
    plan.dispose();
  }
  return texts;
}

interface SamplingTensors {
  /** u32 [BLOCK + 1, B]: tokens[0] is the first input, tokens[t + 1] the choice of step t. */
  readonly tokens: Tensor;
  /** u32 [BLOCK, B]: the prompt's tokens, or CHOOSE. */
  readonly forced: Tensor;
  readonly settings: Tensor;
}

/** Records BLOCK steps, each from token to logits to the next token; the state is carried from block to block. */
async function recordSampling(model: ModelParts, B: number, signal: AbortSignal | undefined): Promise<Plan<SamplingTensors>> {
  const V = model.config.vocabSize;
  const record = (recorder: Recorder): SamplingTensors => {
    const u32 = (name: string, shape: readonly number[]): Tensor => recorder.tensor({ name, shape, dtype: "u32" });
    const tokens = u32("tokens", [BLOCK + 1, B]);
    const forced = u32("forced", [BLOCK, B]);
    const settings = u32("settings", [8]);
    const logits = recorder.tensor({ name: "logits", shape: [B, V] });
    const state = makeState((spec) => recorder.tensor(spec), model.config, B);
    const stack = modelStack(recorder, model, {
      T: BLOCK,
      B,
      input: tokenInput(model, tokens),
      states: { initial: state, final: state },
    });
    const h = stack.outputs[0]!;
    const head = makeHead(recorder, model, B);
    stack.begin();
    for (let t = 0; t < BLOCK; t++) {
      stack.steps(t, 1);
      head.forward({ ...h, rows: B, firstRow: (h.firstRow ?? 0) + t * B }, logits);
      recorder.dispatch(sample.forward, { logits, forced, settings, tokens }, { B, V, t });
    }
    stack.end();
    return { tokens, forced, settings };
  };
  return model.device.record("sample", record, { signal });
}

/** Where a text without a prompt begins: after a line break, if the model knows one. */
function firstToken(codec: TextCodec): number {
  try {
    const tokens = codec.encode("\n");
    checkTokens("sample: a line break", tokens, codec.size);
    return tokens[0] ?? 0;
  } catch {
    return 0;
  }
}
