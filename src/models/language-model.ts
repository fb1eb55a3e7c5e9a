import { GatewiseError } from "../errors.ts";
import type { Device } from "../runtime/device.ts";
import { languageModelConfig, parameterCount, parameterSpecs, type LanguageModelConfig } from "./config.ts";
import {
  initialValues,
  makeParameterSet,
  readStateDict,
  writeStateDict,
  type ParameterSet,
  type StateDict,
} from "./parameters.ts";
import { sampleText, type SampleOptions, type TextCodec } from "./sample.ts";

/** A configuration, with defaults for what is left out, and the seed of the initial weights. */
export type LanguageModelOptions = Partial<LanguageModelConfig> & { readonly vocabSize: number; readonly seed?: number };

/**
 * A recurrent language model on a device.
 *
 * @example
 * const model = LanguageModel.create(device, { cell: "lstm", vocabSize: tokenizer.size, hiddenSize: 128, seed: 1 });
 */
export class LanguageModel {
  private constructor(
    readonly device: Device,
    readonly config: LanguageModelConfig,
    readonly parameters: ParameterSet,
  ) {}

  /** @throws GatewiseError E_CONFIG, E_LIMIT */
  static create(device: Device, options: LanguageModelOptions): LanguageModel {
    const { seed = 1, ...rest } = options;
    const config = languageModelConfig(rest);
    if (config.precision === "f16" && device.gpuDevice && !device.gpuDevice.features.has("shader-f16")) {
      throw new GatewiseError("E_CONFIG", `precision must be "f32" here: ${device.description} has no shader-f16`);
    }
    const parameters = makeParameterSet(device, "parameters", parameterSpecs(config));
    parameters.specs.forEach((spec, i) => device.write(parameters.flat.parts[i]!, initialValues(spec, seed, i)));
    return new LanguageModel(device, config, parameters);
  }

  /** The parameters under PyTorch's names, dense, in PyTorch's shapes. */
  stateDict(): Promise<StateDict> {
    return readStateDict(this.device, this.parameters);
  }

  /** @throws GatewiseError E_SHAPE */
  loadStateDict(values: Readonly<Record<string, ArrayLike<number>>>): void {
    writeStateDict(this.device, this.parameters, values);
  }

  /**
   * Samples text, one step a character, the choice made on the device.
   *
   * @throws GatewiseError E_DATA for a prompt with unknown characters, E_CONFIG for options out of range.
   */
  sample(codec: TextCodec, options: SampleOptions = {}): Promise<string> {
    return sampleText(this, codec, options).then((texts) => texts[0]!);
  }

  get parameterCount(): number {
    return parameterCount(this.config);
  }

  dispose(): void {
    this.device.free(this.parameters.flat.whole);
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}
