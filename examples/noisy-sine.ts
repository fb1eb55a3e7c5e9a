// A GRU with a linear head predicts the next value of a noisy sine, by gradient descent with momentum.
import { makeOptimizer, Recurrent, type Device } from "gatewise";

export async function trainOnSine(device: Device, steps = 60): Promise<number[]> {
  const [T, B, H] = [30, 8, 16];
  const wave = (i: number, t = Math.floor(i / B)): number => Math.sin(0.4 * t + (i % B)) + 0.05 * Math.sin(977 * i);
  const layer = Recurrent.create(device, { cell: "gru", inputSize: 1, hiddenSize: H, seed: 1 });
  const head = new Float32Array(H).fill(0.1);
  const weights = await layer.stateDict();
  const optimizer = await makeOptimizer({ ...weights, head }, { optimizer: "sgd", learningRate: 0.1, momentum: 0.9, clip: 0 });
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const { output } = await layer.forward(
      Float32Array.from({ length: T * B }, (_, i) => wave(i + step * B)),
      { T, B },
    );
    // The mean squared error of output · head, and its gradients.
    const [dOutput, dHead] = [output.map(() => 0), head.map(() => 0)];
    losses.push(0);
    for (let i = 0; i < T * B; i++) {
      const h = output.subarray(i * H, (i + 1) * H);
      const error = h.reduce((sum, value, u) => sum + value * head[u]!, 0) - wave(i + (step + 1) * B);
      losses[step]! += error ** 2 / (T * B);
      h.forEach((value, u) => {
        dOutput[i * H + u] = (2 * error * head[u]!) / (T * B);
        dHead[u]! += (2 * error * value) / (T * B);
      });
    }
    const { gradients } = await layer.backward(dOutput);
    await optimizer.update({ ...gradients, head: dHead });
    layer.loadStateDict(weights);
  }
  layer.dispose();
  return losses;
}
