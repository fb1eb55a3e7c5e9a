// A recurrent layer with a linear head predicts the next value of a noisy sine; Adam (Kingma & Ba 2015) by hand.
// Run it in a page, or in Node with a device from "gatewise/node".
import { Recurrent, type Device } from "gatewise";

export async function trainOnSine(device: Device, steps = 60): Promise<number[]> {
  const [T, B, H] = [30, 8, 16];
  const layer = Recurrent.create(device, { cell: "gru", inputSize: 1, hiddenSize: H, seed: 1 });
  const weights: Record<string, Float32Array> = {
    ...(await layer.stateDict()),
    head: new Float32Array(H).fill(0.1),
    bias: new Float32Array(1),
  };
  const m = Object.fromEntries(Object.entries(weights).map(([name, w]) => [name, new Float32Array(w.length)]));
  const v = Object.fromEntries(Object.entries(weights).map(([name, w]) => [name, new Float32Array(w.length)]));
  const wave = (t: number, b: number): number => Math.sin(0.4 * t + b) + 0.05 * Math.sin(977 * (t + 31 * b));
  const losses: number[] = [];
  for (let step = 1; step <= steps; step++) {
    const x = Float32Array.from({ length: T * B }, (_, i) => wave(Math.floor(i / B) + step, i % B));
    const { output } = await layer.forward(x, { T, B });
    const gradients: Record<string, ArrayLike<number>> = { head: new Float32Array(H), bias: new Float32Array(1) };
    const dOutput = new Float32Array(T * B * H);
    let loss = 0;
    for (let i = 0; i < T * B; i++) {
      const h = output.subarray(i * H, (i + 1) * H);
      const error =
        weights.bias![0]! + h.reduce((sum, a, u) => sum + a * weights.head![u]!, 0) - wave(Math.floor(i / B) + step + 1, i % B);
      loss += error ** 2 / (T * B);
      const d = (2 * error) / (T * B);
      (gradients.bias as Float32Array)[0]! += d;
      h.forEach((a, u) => {
        dOutput[i * H + u] = d * weights.head![u]!;
        (gradients.head as Float32Array)[u]! += d * a;
      });
    }
    Object.assign(gradients, (await layer.backward(dOutput)).gradients);
    for (const [name, w] of Object.entries(weights))
      w.forEach((_, i) => {
        const g = gradients[name]![i]!;
        m[name]![i] = 0.9 * m[name]![i]! + 0.1 * g;
        v[name]![i] = 0.999 * v[name]![i]! + 0.001 * g * g;
        w[i]! -= (0.01 * m[name]![i]!) / (1 - 0.9 ** step) / (Math.sqrt(v[name]![i]! / (1 - 0.999 ** step)) + 1e-8);
      });
    const { head: _head, bias: _bias, ...recurrent } = weights;
    layer.loadStateDict(recurrent);
    losses.push(loss);
  }
  layer.dispose();
  return losses;
}
