// A recurrent layer on any input, like torch.nn.RNN, GRU and LSTM: stacked, bidirectional, with rows of unequal length.
import { GatewiseError } from "../errors.ts";
import { checkDevice, type Device } from "../runtime/device.ts";
import { Lifetime } from "../turns.ts";
import {
  checkFits,
  initialValues,
  makeParameterSet,
  readStateDict,
  writeStateDict,
  type ParameterSet,
  type StateDict,
} from "./parameters.ts";
import {
  backwardInputs,
  forwardInputs,
  stepInputs,
  type BackwardResult,
  type FinalGradients,
  type ForwardInputs,
  type ForwardOptions,
  type ForwardResult,
  type StepState,
} from "./recurrent-calls.ts";
import { recurrentConfig, recurrentSpecs, type RecurrentConfig, type RecurrentOptions } from "./recurrent-config.ts";
import { makeSession, type Session } from "./recurrent-session.ts";

export type { BackwardResult, FinalGradients, ForwardOptions, ForwardResult, StepState } from "./recurrent-calls.ts";
export type { RecurrentConfig, RecurrentOptions } from "./recurrent-config.ts";

/**
 * A recurrent layer, time-major, with gradients of everything. Calls are served in the order in which they are made, each
 * with the inputs that it was given then; after `dispose` they answer E_DISPOSED.
 *
 * @example
 * const layer = Recurrent.create(device, { cell: "lstm", inputSize: 3, hiddenSize: 16 });
 * const { output, hN, cN } = await layer.forward(x, { T, B });
 * const { dx, gradients } = await layer.backward(dOutput);
 */
export class Recurrent {
  private readonly life = new Lifetime("layer");
  private session: Session | undefined;
  private stepSession: Session | undefined;
  /** Version of the parameters in the last forward pass; undefined where there is nothing to go back from. */
  private forwardVersion: number | undefined;
  private seenTraining = 0;

  private constructor(
    /** Where it lives. */
    readonly device: Device,
    /** What it is made of, defaults filled in. */
    readonly config: RecurrentConfig,
    /** What its first weights were drawn from. */
    readonly seed: number,
    /** @internal */ readonly parameters: ParameterSet,
    private readonly gradients: ParameterSet,
  ) {}

  /** Makes a layer with fresh weights. @throws GatewiseError E_CONFIG, E_LIMIT, E_DISPOSED */
  static create(device: Device, options: RecurrentOptions): Recurrent {
    checkDevice("Recurrent.create", device);
    const { config, seed } = recurrentConfig(options);
    const specs = recurrentSpecs(config);
    const { inputSize, hiddenSize } = config;
    checkFits("Recurrent.create", device, { inputSize, hiddenSize }, (sizes) => recurrentSpecs({ ...config, ...sizes }));
    const parameters = makeParameterSet(device, config.cell, specs);
    let gradients: ParameterSet;
    try {
      gradients = makeParameterSet(device, "gradients", specs);
    } catch (error) {
      device.free(parameters.flat.whole);
      throw error;
    }
    specs.forEach((spec, i) => device.write(parameters.flat.parts[i]!, initialValues(spec, seed, i)));
    return new Recurrent(device, config, seed, parameters, gradients);
  }

  /** The parameters under PyTorch's names, dense, in PyTorch's shapes. @throws GatewiseError E_DISPOSED */
  stateDict(): Promise<StateDict> {
    return this.life.serve("Recurrent.stateDict", () => readStateDict(this.device, this.parameters));
  }

  /** Changes the weights for all later calls. @throws GatewiseError E_SHAPE, E_DISPOSED */
  loadStateDict(values: Readonly<Record<string, ArrayLike<number>>>): void {
    const write = writeStateDict(this.device, this.parameters, values);
    this.life.order("Recurrent.loadStateDict", write);
  }

  /**
   * Runs x [T, B, inputSize] through the layer.
   *
   * @throws GatewiseError E_SHAPE naming the tensor, what was expected and what came; E_CONFIG for unknown options and
   * lengths out of range; E_DISPOSED
   */
  async forward(x: ArrayLike<number>, options: ForwardOptions): Promise<ForwardResult> {
    const inputs = forwardInputs(this.config, x, options);
    return this.life.serve(
      "Recurrent.forward",
      async () => {
        this.forwardVersion = undefined;
        const session = await this.sessionFor("session", inputs);
        const { output, states } = await session.forward(inputs, this.seenTraining++);
        this.forwardVersion = this.parameters.version;
        return { output, hN: states.h!, cN: states.c };
      },
      inputs.signal,
    );
  }

  /**
   * Backpropagates through the `forward` called last: dOutput [T, B, D·H], and optionally the gradients of hN and cN.
   *
   * @throws GatewiseError E_CONFIG before any forward pass and if the weights have changed since, E_SHAPE, E_DISPOSED
   */
  async backward(dOutput: ArrayLike<number>, finals: FinalGradients = {}): Promise<BackwardResult> {
    const inputsFor = backwardInputs(this.config, dOutput, finals);
    const work = async (): Promise<BackwardResult> => {
      const { session, forwardVersion, parameters } = this;
      if (session && forwardVersion === parameters.version) {
        const { dx, states, gradients } = await session.backward(inputsFor(session.T, session.B));
        return { dx, dh0: states.h!, dc0: states.c, gradients };
      }
      // Where the device is gone, that is why.
      await this.device.finish();
      throw new GatewiseError(
        "E_CONFIG",
        session && forwardVersion !== undefined
          ? "Recurrent.backward: the weights have changed since forward, so that the gradient would mix old and new ones; call forward again, or loadStateDict after backward"
          : "Recurrent.backward: call forward first; it keeps what backward needs",
      );
    };
    return this.life.serve("Recurrent.backward", work, finals.signal);
  }

  /**
   * One time step, for streams: x [B, inputSize] and the state that the step before returned. Both directions need the
   * whole sequence, so that a bidirectional layer has no such form. The last `forward` is kept for `backward`.
   *
   * @throws GatewiseError E_CONFIG, E_SHAPE, E_DISPOSED
   */
  async step(
    x: ArrayLike<number>,
    state: StepState,
  ): Promise<{ output: Float32Array; h: Float32Array; c: Float32Array | undefined }> {
    const inputs = stepInputs(this.config, x, state);
    return this.life.serve(
      "Recurrent.step",
      async () => {
        const session = await this.sessionFor("stepSession", inputs);
        const { output, states } = await session.forward(inputs, 0);
        return { output, h: states.h!, c: states.c };
      },
      inputs.signal,
    );
  }

  /** The session of these sizes: the one at hand, or a new one in its place. */
  private async sessionFor(place: "session" | "stepSession", sizes: ForwardInputs): Promise<Session> {
    const present = this[place];
    if (present?.T === sizes.T && present.B === sizes.B && present.training === sizes.training) return present;
    present?.dispose();
    this[place] = undefined;
    const { device, config, parameters, seed, gradients } = this;
    return (this[place] = await makeSession({ device, config, parameters, seed, gradients }, sizes));
  }

  /** Frees everything; a call that is being served ends first. */
  dispose(): void {
    this.life.dispose(() => {
      this.session?.dispose();
      this.stepSession?.dispose();
      this.device.free(this.parameters.flat.whole, this.gradients.flat.whole);
    });
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}
