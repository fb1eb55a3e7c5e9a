// What a training step uploads: the arrays that every step fills again.
import { GatewiseError } from "../errors.ts";
import { stateSpecs, type LanguageModelConfig } from "../models/config.ts";
import { sizeOf } from "../runtime/tensor.ts";
import type { TrainingOptions } from "./options.ts";

/** T·B beyond which no device can bind the logits: 4 GiB at four characters. */
export const MAX_BATCH_TOKENS = 2 ** 28;

export const tooLarge = (B: number, T: number, cause?: unknown): GatewiseError =>
  new GatewiseError("E_LIMIT", `batchSize ${B} × seqLen ${T} does not fit in memory; make them smaller`, { cause });

/** Arrays that every step fills again. */
export interface HostBuffers {
  readonly inputs: Uint32Array;
  readonly targets: Uint32Array;
  readonly order: Uint32Array;
  readonly starts: Uint32Array;
  readonly schedule: Float32Array;
  readonly rng: Uint32Array;
  /** As long as the largest state. */
  readonly zeroState: Float32Array;
  /** Where the targets that count begin: with loss "last", those of the last step. */
  readonly firstTarget: number;
}

export function makeHostBuffers({ batchSize: B, seqLen: T, loss }: TrainingOptions, config: LanguageModelConfig): HostBuffers {
  try {
    return {
      inputs: new Uint32Array(T * B),
      targets: new Uint32Array(T * B),
      order: new Uint32Array(T * B),
      starts: new Uint32Array(config.vocabSize + 1),
      schedule: new Float32Array(4),
      rng: new Uint32Array(4),
      zeroState: new Float32Array(Math.max(...stateSpecs(config, B).map(({ shape }) => sizeOf(shape)))),
      firstTarget: loss === "all" ? 0 : (T - 1) * B,
    };
  } catch (cause) {
    throw tooLarge(B, T, cause);
  }
}
