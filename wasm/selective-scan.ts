import { exp, lanesOf, madd, pad4, share, softplus, sumOfLanes, tanh } from "./shared/simd";

/** States are kept in front of every step whose number is a multiple of this. */
const KEPT = 8;
/** Channels whose part of the gradients of B and C is summed up at once: eight vectors. */
const GROUP = 32;
/** Bytes of a vector for each of KEPT steps. */
const STEPS = 16 * KEPT;

/** For each step decay and states; sums of the gradients of B and C; for each vector of a group those of Σ λB and Δ. */
export function selective_scan_scratch(): i32 {
  return 5 * STEPS + (GROUP / 4) * 2 * STEPS;
}

// prettier-ignore
export function selective_scan_softplus(
  lengths: usize, values: usize, B: i32, H: i32, t: i32, count: i32, ragged: i32, scratch: usize, part: i32, parts: i32,
): void {
  const end = t * B + share(count * B, 1, part + 1, parts);
  for (let row = t * B + share(count * B, 1, part, parts); row < end; row++) {
    const ended = ragged && row / B >= load<i32>(lengths + 4 * (row % B));
    for (let h = 0; h < H; h += 4) {
      const at = values + 4 * (<usize>pad4(H) * row + h);
      v128.store(at, ended ? f32x4.splat(0) : v128.and(softplus(v128.load(at)), lanesOf(h, H)));
    }
  }
}

/** Shares are of groups of channels of a row. */
// prettier-ignore
export function selective_scan_forward(
  x: usize, xDbl: usize, layer: usize, delta: usize, states: usize, y: usize,
  T: i32, B: i32, H: i32, N: i32, R: i32, t: i32, count: i32, xOffset: i32, scratch: usize, part: i32, parts: i32,
): void {
  const row: usize = 4 * pad4(H);
  const ofRow: usize = row * pad4(N);
  const inputs: usize = 4 * pad4(R + 2 * N);
  const groups = (H + GROUP - 1) / GROUP;
  const end = share(B * groups, 1, part + 1, parts);
  for (let i = share(B * groups, 1, part, parts); i < end; i++) {
    const b = i / groups;
    const first = GROUP * (i % groups);
    for (let s = t; s < t + count; s++) {
      const cell = s * B + b;
      const input = xDbl + inputs * cell + 4 * R;
      // The slot behind holds the states while its steps are under way.
      const slot = states + ofRow * ((s / KEPT + 1) * B + b);
      const from = s % KEPT == 0 ? slot - ofRow * B : slot;
      for (let h = first; h < min(first + GROUP, H); h += 4) {
        const lanes = lanesOf(h, H);
        const at: usize = row * cell + 4 * h;
        const xt = v128.load(x + 4 * xOffset + at);
        const step = v128.load(delta + at);
        const written = f32x4.mul(step, xt);
        let sum = f32x4.mul(v128.load(layer + ofRow + 4 * h), xt);
        let place: usize = 4 * h;
        for (let n: usize = 0; n < 4 * N; n += 4) {
          const decay = exp(f32x4.mul(step, v128.load(layer + place)));
          const after = v128.and(madd(decay, v128.load(from + place), f32x4.mul(written, v128.load32_splat(input + n))), lanes);
          v128.store(slot + place, after);
          sum = madd(after, v128.load32_splat(input + n + 4 * N), sum);
          place += row;
        }
        v128.store(y + at, v128.and(sum, lanes));
      }
    }
  }
}

/** Stores the sums of the lanes of KEPT vectors. */
function storeSums(vectors: usize, to: usize): void {
  for (let k = 0; k < KEPT; k++) store<f32>(to + 4 * k, sumOfLanes(v128.load(vectors + 16 * k)));
}

// prettier-ignore
export function selective_scan_backward(
  x: usize, xDbl: usize, layer: usize, delta: usize, dOutput: usize, dX: usize, partials: usize, kept: usize,
  T: i32, B: i32, H: i32, N: i32, R: i32, t: i32, count: i32, xOffset: i32, scratch: usize, part: i32, parts: i32,
): void {
  const row: usize = 4 * pad4(H);
  const ofRow: usize = row * pad4(N);
  const inputs: usize = 4 * pad4(R + 2 * N);
  const groups = (H + GROUP - 1) / GROUP;
  const slots = (T + KEPT - 1) / KEPT;
  const decays = scratch;
  const held = decays + STEPS;
  const ofB = held + STEPS + 16;
  const ofC = ofB + STEPS;
  const ofInput = ofC + STEPS;
  const ofStep = ofInput + (GROUP / 4) * STEPS;
  const end = share(B * groups, 1, part + 1, parts);
  for (let i = share(B * groups, 1, part, parts); i < end; i++) {
    const b = i / groups;
    const group = i % groups;
    const h0 = GROUP * group;
    const h1 = min(h0 + GROUP, H);
    const gradient = kept + ofRow * ((slots + 1) * B + b);
    const ofA = gradient + ofRow * B;
    const ofD = kept + ofRow * (slots + 3) * B + row * b;
    for (let before = t + 1; before > t + 1 - count; ) {
      const slot = (before - 1) / KEPT;
      const first = KEPT * slot;
      const steps = before - first;
      memory.fill(ofInput, 0, (GROUP / 4) * 2 * STEPS);
      for (let n = 0; n < N; n++) {
        memory.fill(ofB, 0, 2 * STEPS);
        const input = xDbl + inputs * (first * B + b) + 4 * (R + n);
        for (let h = h0; h < h1; h += 4) {
          const lanes = lanesOf(h, H);
          const place: usize = row * n + 4 * h;
          const rate = v128.load(layer + place);
          let state = v128.load(kept + ofRow * (slot * B + b) + place);
          v128.store(held, state);
          for (let k = 0; k < steps; k++) {
            const at: usize = row * ((first + k) * B + b) + 4 * h;
            const step = v128.load(delta + at);
            const decay = exp(f32x4.mul(step, rate));
            const written = f32x4.mul(step, v128.load(x + 4 * xOffset + at));
            state = madd(decay, state, f32x4.mul(written, v128.load32_splat(input + inputs * B * k)));
            v128.store(decays + 16 * k, decay);
            v128.store(held + 16 * k, state, 16);
          }
          let carried = v128.load(gradient + place);
          let dA = v128.load(ofA + place);
          const sums: usize = STEPS * ((h - h0) >> 2);
          for (let k = steps - 1; k >= 0; k--) {
            const at: usize = row * ((first + k) * B + b) + 4 * h;
            const from = input + inputs * B * k;
            const step = v128.load(delta + at);
            const dy = v128.load(dOutput + at);
            const lambda = madd(dy, v128.load32_splat(from + 4 * N), carried);
            carried = f32x4.mul(v128.load(decays + 16 * k), lambda);
            const alpha = f32x4.mul(carried, v128.load(held + 16 * k));
            dA = madd(alpha, step, dA);
            const toInput = ofInput + sums + 16 * k;
            const toStep = ofStep + sums + 16 * k;
            v128.store(toInput, madd(lambda, v128.load32_splat(from), v128.load(toInput)));
            v128.store(toStep, madd(alpha, rate, v128.load(toStep)));
            const written = f32x4.mul(step, v128.load(x + 4 * xOffset + at));
            v128.store(ofB + 16 * k, madd(lambda, written, v128.load(ofB + 16 * k)));
            v128.store(ofC + 16 * k, madd(dy, v128.load(held + 16 * k, 16), v128.load(ofC + 16 * k)));
          }
          v128.store(gradient + place, v128.and(carried, lanes));
          v128.store(ofA + place, v128.and(dA, lanes));
        }
        const to = partials + 8 * KEPT * (((group * slots + slot) * B + b) * N + n);
        storeSums(ofB, to);
        storeSums(ofC, to + 4 * KEPT);
      }
      for (let h = h0; h < h1; h += 4) {
        const lanes = lanesOf(h, H);
        const sums: usize = STEPS * ((h - h0) >> 2);
        const skip = v128.load(layer + ofRow + 4 * h);
        let dD = v128.load(ofD + 4 * h);
        for (let k = 0; k < steps; k++) {
          const at: usize = row * ((first + k) * B + b) + 4 * h;
          const step = v128.load(delta + at);
          const dy = v128.load(dOutput + at);
          const xt = v128.load(x + 4 * xOffset + at);
          const ofU = v128.load(ofInput + sums + 16 * k);
          dD = madd(dy, xt, dD);
          v128.store(dX + at, v128.and(madd(step, ofU, f32x4.mul(skip, dy)), lanes));
          // 1 − e⁻ˢ = 2τ / (1 + τ) with τ = tanh(s/2)
          const half = tanh(f32x4.mul(step, f32x4.splat(0.5)));
          const slope = f32x4.div(f32x4.add(half, half), f32x4.add(f32x4.splat(1), half));
          const dStep = madd(xt, ofU, v128.load(ofStep + sums + 16 * k));
          v128.store(dOutput + at, v128.and(f32x4.mul(dStep, slope), lanes));
        }
        v128.store(ofD + 4 * h, v128.and(dD, lanes));
      }
      before = first;
    }
  }
}

// prettier-ignore
export function selective_scan_sums(
  parts: usize, dXDbl: usize, T: i32, B: i32, H: i32, N: i32, R: i32, scratch: usize, part: i32, count: i32,
): void {
  const slots = (T + KEPT - 1) / KEPT;
  const groups = (H + GROUP - 1) / GROUP;
  const ofGroup: usize = 8 * KEPT * N * B * slots;
  const end = share(T * B, 1, part + 1, count);
  for (let row = share(T * B, 1, part, count); row < end; row++) {
    const t = row / B;
    const to = dXDbl + 4 * (<usize>pad4(R + 2 * N) * row + R);
    for (let n = 0; n < N; n++) {
      let at = parts + 4 * (t % KEPT) + 8 * KEPT * (((t / KEPT) * B + (row % B)) * N + n);
      let dB: f32 = 0;
      let dC: f32 = 0;
      for (let group = 0; group < groups; group++) {
        dB += load<f32>(at);
        dC += load<f32>(at + 4 * KEPT);
        at += ofGroup;
      }
      store<f32>(to + 4 * n, dB);
      store<f32>(to + 4 * (N + n), dC);
    }
  }
}
