// A recurrent layer recorded for one T and B: its plans, forward and backward.
import type { Tensors } from "../kernels/cell.ts";
import type { Device, Plan } from "../runtime/device.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { sizeOf, type NumberArray, type Tensor } from "../runtime/tensor.ts";
import type { ParameterSet } from "./parameters.ts";
import { joinHalves, makeOrders, splitHalves, writeOrders, type RowOrders } from "./ragged-rows.ts";
import type { BackwardInputs, BackwardResult, ByState, ForwardInputs, ForwardResult } from "./recurrent-calls.ts";
import type { RecurrentConfig } from "./recurrent-config.ts";
import { directionsOf, makeStack, makeStates, type Stack } from "./stack.ts";

/** Plans and tensors for one T and B. */
export interface Session {
  readonly T: number;
  readonly B: number;
  readonly training: boolean;
  /** `counter` numbers the dropout masks. */
  forward(inputs: Omit<ForwardInputs, "T" | "B" | "training">, counter: number): Promise<SessionForward>;
  backward(inputs: BackwardInputs): Promise<SessionBackward>;
  dispose(): void;
}

/** With the final states by name. */
type SessionForward = Pick<ForwardResult, "output"> & { readonly states: ByState<Float32Array> };
/** With the gradients of the initial states by name. */
type SessionBackward = Pick<BackwardResult, "dx" | "gradients"> & { readonly states: ByState<Float32Array> };

/** What a session needs of its layer. */
export interface SessionOwner {
  readonly device: Device;
  readonly config: RecurrentConfig;
  readonly parameters: ParameterSet;
  /** Where backward puts the gradients of the parameters; they are not computed, if left out. */
  readonly gradients?: ParameterSet | undefined;
  readonly seed: number;
}

interface ForwardPlan {
  readonly stack: Stack;
  readonly x: Tensor;
  readonly initial: Tensors;
  readonly final: Tensors;
  readonly rng: Tensor;
  readonly orders: RowOrders;
}

interface BackwardPlan {
  readonly dOutputs: readonly Tensor[];
  /** For each layer and direction. */
  readonly dFinal: readonly Tensors[];
  readonly dx: Tensor;
  readonly dInitial: Tensors;
}

export async function makeSession(
  owner: SessionOwner,
  { T, B, training, signal }: Pick<ForwardInputs, "T" | "B" | "training" | "signal">,
): Promise<Session> {
  const { device, config, parameters, gradients, seed } = owner;
  const { inputSize, hiddenSize: H } = config;
  const D = directionsOf(config);

  const record = (recorder: Recorder): ForwardPlan => {
    const x = recorder.tensor({ name: "x", shape: [T, B, inputSize] });
    const states = (when: string): Tensors => makeStates((s) => recorder.tensor({ ...s, name: s.name + when }), config, B);
    const [initial, final] = [states("0"), states("N")];
    const rng = recorder.tensor({ name: "rng", shape: [4], dtype: "u32" });
    const orders = makeOrders(recorder, T, B);
    const stack = makeStack(recorder, {
      config,
      T,
      B,
      input: { parts: [{ tensor: x, rows: T * B, columns: inputSize }] },
      parameters,
      states: { initial, final },
      orders,
      dropout: training ? { rng, stream: (index) => index } : undefined,
    });
    stack.begin();
    stack.steps(0, T);
    stack.end();
    return { stack, x, initial, final, rng, orders };
  };
  const plan = await device.record(`${config.cell} forward`, record, { signal });
  const { stack, x, initial, final, rng, orders } = plan.made;

  const recordBackward = (recorder: Recorder): BackwardPlan => {
    const tensor = (name: string, ...shape: number[]): Tensor => recorder.tensor({ name, shape });
    const dOutputs = stack.outputs.map((_, d) => tensor(`dOutput${d}`, T, B, H));
    const dx = tensor("dx", T, B, inputSize);
    const dInitial = makeStates((s) => recorder.tensor({ ...s, name: `d${s.name}0` }), config, B);
    const dFinal = stack.layers.map((_, i) =>
      Object.fromEntries(
        Object.entries(dInitial).map(([name, { shape, stored }]) => [
          name,
          recorder.tensor({ name: `d${name}N ${i}`, shape: shape.slice(1), stored: stored.slice(1) }),
        ]),
      ),
    );
    stack.backward(recorder, {
      dOutputs,
      parameters: gradients,
      inputs: [{ tensor: dx, rows: T * B, columns: inputSize }],
      states: { final: dFinal, initial: dInitial },
    });
    return { dOutputs, dFinal, dx, dInitial };
  };

  let backwardPlan: Plan<BackwardPlan> | undefined;
  let lengths: readonly number[] = [];
  const io = { T, B, D, H };
  const read = (tensor: Tensor): Promise<Float32Array> => device.read(tensor) as Promise<Float32Array>;
  const readAll = async (tensors: Tensors): Promise<Record<string, Float32Array>> =>
    Object.fromEntries(await Promise.all(Object.entries(tensors).map(async ([name, t]) => [name, await read(t)] as const)));
  return {
    T,
    B,
    training,
    async forward({ states, signal, ...inputs }, counter) {
      lengths = inputs.lengths ?? Array.from({ length: B }, () => T);
      // Whatever stands past a row's end must not matter, not even if it is NaN.
      device.write(x, inputs.lengths ? splitHalves(inputs.x, { T, B, D: 1, H: inputSize }, lengths)[0]! : inputs.x);
      for (const [name, tensor] of Object.entries(initial))
        device.write(tensor, states[name] ?? new Float32Array(sizeOf(tensor.shape)));
      device.write(rng, Uint32Array.of(seed, counter, 0, 0));
      writeOrders(device, orders, T, B, lengths);
      await plan.run([], signal);
      const halves = await Promise.all(
        stack.outputs.map(async ({ tensor, firstRow = 0 }) => (await read(tensor)).subarray(firstRow * H)),
      );
      return { output: joinHalves(halves, io, lengths), states: await readAll(final) };
    },
    async backward({ dOutput, states, signal }) {
      backwardPlan ??= await device.record(`${config.cell} backward`, recordBackward, { signal });
      const { dOutputs, dFinal, dx, dInitial } = backwardPlan.made;
      splitHalves(dOutput, io, lengths).forEach((half, d) => device.write(dOutputs[d]!, half));
      dFinal.forEach((tensors, i) => {
        for (const [name, tensor] of Object.entries(tensors)) {
          const size = sizeOf(tensor.shape);
          const given: NumberArray | undefined = states[name]?.subarray(i * size, (i + 1) * size);
          device.write(tensor, given ?? new Float32Array(size));
        }
      });
      await backwardPlan.run([], signal);
      return {
        dx: await read(dx),
        states: await readAll(dInitial),
        gradients: await readAll(gradients?.byName ?? {}),
      };
    },
    dispose() {
      backwardPlan?.dispose();
      plan.dispose();
    },
  };
}
