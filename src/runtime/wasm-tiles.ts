// Which tiles products get: wide ones pay where the engine makes one instruction of two, which nothing but the clock tells.
import { instantiate, MODULE_BYTES, type CompiledModule } from "./wasm-module.ts";

/** The product that is timed: rows of a batch times a hidden layer. */
const [M, N, K] = [64, 128, 128];
/** Milliseconds of a turn, and turns of each build: engines compile for speed what has run for a while. */
const [TURN, TURNS] = [6, 4];
/** So much faster wide tiles must be, because clocks err. */
const CLEARLY = 1.1;

/** Times a build: products a millisecond, in turns. */
function timer(compiled: CompiledModule, shared: boolean): () => number {
  const { matmul_nn: product, matmul_scratch: scratch } = instantiate(
    compiled,
    new WebAssembly.Memory({ initial: 64, maximum: 64, shared }),
  );
  const a = MODULE_BYTES;
  const b = a + 4 * M * K;
  const c = b + 4 * K * N;
  const room = c + 4 * M * N;
  if (room + scratch!() > 64 * 65_536) throw new Error(`scratch of ${scratch!()} bytes is more than the probe has`);
  return () => {
    const begun = performance.now();
    let [products, now] = [0, begun];
    for (; now - begun < TURN; now = performance.now(), products++)
      product!(a, b, a, c, M, N, K, K, N, N, 0, 0, 0, K, 0, 0, room, 0, 1);
    return products / (now - begun);
  };
}

/** Of two builds of the same bits the one with wide tiles if these are clearly faster here, else the other: 50 ms. */
export function fasterTiles(wide: CompiledModule, other: CompiledModule, shared = false, timerOf = timer): CompiledModule {
  const timers = [timerOf(wide, shared), timerOf(other, shared)];
  const best = [0, 0];
  for (let turn = 0; turn < TURNS; turn++) timers.forEach((time, i) => (best[i] = Math.max(best[i]!, time())));
  return best[0]! > CLEARLY * best[1]! ? wide : other;
}
