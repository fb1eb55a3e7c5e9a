import { checkSeed, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { checkDevice, type Device } from "../runtime/device.ts";
import { Lifetime } from "../turns.ts";
import { checkModelNames, languageModelConfig, parameterCount, parameterSpecs, type LanguageModelConfig } from "./config.ts";
import {
  checkFits,
  initialValues,
  makeParameterSet,
  readStateDict,
  writeStateDict,
  type ParameterSet,
  type StateDict,
} from "./parameters.ts";
import { prepareSample, type SampleOptions, type TextCodec } from "./sample.ts";

/** A configuration, with defaults for what is left out, and the seed of the initial weights. */
export type LanguageModelOptions = Partial<LanguageModelConfig> & { readonly vocabSize: number; readonly seed?: number };

/**
 * A recurrent language model on a device. What works on its parameters, be it a call of its own, an evaluation, or a
 * trainer's step, is served in the order in which it was asked for; after `dispose` it answers E_DISPOSED.
 *
 * @example
 * const model = LanguageModel.create(device, { cell: "lstm", vocabSize: tokenizer.size, hiddenSize: 128, seed: 1 });
 */
export class LanguageModel {
  /** @internal Whose turn it is to work on the parameters. */
  readonly life = new Lifetime("model");

  private constructor(
    /** Where it lives. */
    readonly device: Device,
    /** What it is made of, defaults filled in. */
    readonly config: LanguageModelConfig,
    /** @internal */ readonly parameters: ParameterSet,
  ) {}

  /** Makes a model with fresh weights. @throws GatewiseError E_CONFIG, E_LIMIT, E_DISPOSED */
  static create(device: Device, options: LanguageModelOptions): LanguageModel {
    checkDevice("LanguageModel.create", device);
    checkModelNames("LanguageModel.create", options, ["seed"]);
    const { seed = 1, ...rest } = options ?? {};
    const config = languageModelConfig(rest);
    checkSeed("seed", seed);
    if (config.precision === "f16" && device.gpuDevice && !device.gpuDevice.features.has("shader-f16")) {
      throw new GatewiseError("E_CONFIG", `precision must be "f32" here: ${device.description} has no shader-f16`);
    }
    const { vocabSize, embeddingSize, hiddenSize } = config;
    checkFits("LanguageModel.create", device, { vocabSize, embeddingSize, hiddenSize }, (sizes) =>
      parameterSpecs({ ...config, ...sizes }),
    );
    const parameters = makeParameterSet(device, "parameters", parameterSpecs(config));
    parameters.specs.forEach((spec, i) => device.write(parameters.flat.parts[i]!, initialValues(spec, seed, i)));
    return new LanguageModel(device, config, parameters);
  }

  /** The parameters under PyTorch's names, dense, in PyTorch's shapes. */
  stateDict(): Promise<StateDict> {
    return this.life.serve("LanguageModel.stateDict", () => readStateDict(this.device, this.parameters));
  }

  /** Changes the weights for all later calls. @throws GatewiseError E_SHAPE, E_DISPOSED */
  loadStateDict(values: Readonly<Record<string, ArrayLike<number>>>): void {
    const write = writeStateDict(this.device, this.parameters, values);
    this.life.order("LanguageModel.loadStateDict", write);
  }

  /**
   * Samples a text, one step a character, the choice made on the device; `sampleText` samples several side by side.
   *
   * @throws GatewiseError E_DATA for a prompt with unknown characters, E_CONFIG for options that are unknown or out of
   * range, E_DISPOSED
   */
  async sample(codec: TextCodec, options: Omit<SampleOptions, "count"> = {}): Promise<string> {
    const { count = 1 }: SampleOptions = options ?? {};
    if (count > 1)
      throw new GatewiseError(
        "E_CONFIG",
        `sample: count must be 1, got ${shown(count)}; sampleText(model, codec, { count }) gives several`,
      );
    const [text] = await sampleText(this, codec, options);
    return text!;
  }

  /** Numbers that are trained. */
  get parameterCount(): number {
    return parameterCount(this.config);
  }

  /** Frees the parameters; a call that is being served ends first. */
  dispose(): void {
    this.life.dispose(() => this.device.free(this.parameters.flat.whole));
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** @throws GatewiseError E_CONFIG unless `model` is a language model, E_DISPOSED */
export function checkModel(where: string, model: unknown): asserts model is LanguageModel {
  if (!(model instanceof LanguageModel))
    throw new GatewiseError("E_CONFIG", `${where}: expected a LanguageModel, got ${shown(model)}`);
  model.life.check(where);
}

/**
 * Samples `count` texts; each begins with the prompt. While it draws, the model does nothing else: all characters come
 * from the same weights.
 *
 * @throws GatewiseError E_DATA for a prompt with unknown characters, E_CONFIG for options that are unknown or out of
 * range, E_DISPOSED
 */
export async function sampleText(
  model: LanguageModel,
  codec: TextCodec,
  options: SampleOptions = {},
): Promise<readonly string[]> {
  checkModel("sample", model);
  const { draw, signal } = prepareSample(model, codec, options);
  return model.life.serve("sample", draw, signal);
}
