// A GRU with a linear head predicts the next value of a noisy sine, by gradient descent with momentum.
import { Recurrent, type Device } from "gatewise";

export async function trainOnSine(device: Device, steps = 60): Promise<number[]> {
  const [T, B, H] = [30, 8, 16];
  const wave = (i: number, t = Math.floor(i / B)): number => Math.sin(0.4 * t + (i % B)) + 0.05 * Math.sin(977 * i);
  const layer = Recurrent.create(device, { cell: "gru", inputSize: 1, hiddenSize: H, seed: 1 });
  const head = new Float32Array(H).fill(0.1);
  const weights: Record<string, Float32Array> = await layer.stateDict();
  const speeds = Object.fromEntries(Object.entries({ ...weights, head }).map(([name, w]) => [name, w.map(() => 0)]));
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const { output } = await layer.forward(
      Float32Array.from({ length: T * B }, (_, i) => wave(i + step * B)),
      { T, B },
    );
    const [dOutput, dHead] = [output.map(() => 0), head.map(() => 0)];
    losses.push(0);
    for (let i = 0; i < T * B; i++) {
      const h = output.subarray(i * H, (i + 1) * H);
      const error = h.reduce((sum, value, u) => sum + value * head[u]!, 0) - wave(i + (step + 1) * B);
      losses[step]! += error ** 2 / (T * B);
      dOutput.set(
        head.map((w) => (2 * error * w) / (T * B)),
        i * H,
      );
      h.forEach((value, u) => (dHead[u]! += (2 * error * value) / (T * B)));
    }
    const { gradients } = await layer.backward(dOutput);
    for (const [name, w] of Object.entries({ ...weights, head })) {
      const [speed, gradient] = [speeds[name]!, name === "head" ? dHead : gradients[name]!];
      w.forEach((_, i) => (w[i]! -= 0.1 * (speed[i] = 0.9 * speed[i]! + gradient[i]!)));
    }
    layer.loadStateDict(weights);
  }
  layer.dispose();
  return losses;
}
