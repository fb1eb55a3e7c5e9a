// The selective scan: N states a channel, h′ = exp(ΔA) h + ΔB x, y = C·h + D x, forward and backward. An invocation takes
// four channels of one row through time, KEPT steps after another, and through these for four states at once, so that
// registers hold what four states need, whatever N and T are. The states in front of every KEPT-th step are kept; backward
// makes those between anew. Channels lie in vec4s; states are padded to a multiple of four, S, by states that stay zero.

const KEPT: u32 = 8u;
const LANES: u32 = 8u;

const FOUR: vec4u = vec4u(0u, 1u, 2u, 3u);

fn padded(n: u32) -> u32 {
  return (n + 3u) / 4u * 4u;
}

// ---- prepare: what a pass reads of its layer.
struct PrepareParams { H: u32, N: u32 }
@group(0) @binding(0) var<uniform> prepareParams: PrepareParams;
@group(0) @binding(1) var<storage, read> aLog: array<f32>; // [H, N]
@group(0) @binding(2) var<storage, read> d: array<vec4f>; // [H]
@group(0) @binding(3) var<storage, read_write> prepared: array<vec4f>; // as `layer` below

@compute @workgroup_size(64)
fn prepare(@builtin(global_invocation_id) id: vec3u) {
  let p = prepareParams;
  let W = (p.H + 3u) / 4u;
  let S = padded(p.N);
  let n = id.x / W;
  if (n < S) {
    let channel = FOUR + 4u * (id.x % W);
    let at = min(channel, vec4u(p.H - 1u)) * S + n;
    let a = vec4f(aLog[at.x], aLog[at.y], aLog[at.z], aLog[at.w]);
    let e = expNegative(-abs(a));
    let rate = keepNaN(-select(e, 1.0 / e, a > vec4f()), a);
    prepared[id.x] = select(vec4f(), rate, channel < vec4u(select(0u, p.H, n < p.N)));
  } else if (n == S) {
    prepared[id.x] = d[id.x - W * S];
  }
}

// ---- softplus: Δ from what it is made of, in place; zero where a row has ended, so that its states stay.
struct SoftplusParams {
  B: u32, H: u32,
  t: u32, count: u32,
  ragged: u32, // whether rows have lengths of their own
}
@group(0) @binding(0) var<uniform> softplusParams: SoftplusParams;
@group(0) @binding(1) var<storage, read> lengths: array<u32>; // [B]
@group(0) @binding(2) var<storage, read_write> values: array<vec4f>; // [T, B, H]

@compute @workgroup_size(64)
fn softplus(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = softplusParams;
  let W = (p.H + 3u) / 4u;
  let item = linearWorkgroup(workgroup, count) * 64u + local;
  let row = item / W;
  if (row >= p.count * p.B) {
    return;
  }
  let at = p.t * p.B * W + item;
  let x = values[at];
  let e = expNegative(-abs(x));
  let y = keepNaN(max(x, vec4f()) + vec4f(log1p(e.x), log1p(e.y), log1p(e.z), log1p(e.w)), x);
  var steps = p.t + p.count;
  if (p.ragged != 0u) {
    steps = lengths[row % p.B];
  }
  values[at] = select(vec4f(), y, (FOUR + 4u * (item % W) < vec4u(p.H)) & vec4<bool>(p.t + row / p.B < steps));
}

// ---- The scan.
struct Params {
  T: u32, B: u32, H: u32, N: u32,
  R: u32, // columns of xDbl in front of those of B and C
  t: u32, // the first step; backward the last
  count: u32,
  xOffset: u32, // elements in front of x's first row
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>; // [T, B, H] from the offset
@group(0) @binding(2) var<storage, read> xDbl: array<f32>; // [T, B, R + 2N]: dt, B, C
@group(0) @binding(3) var<storage, read> layer: array<vec4f>; // A [S, H], then D [H]
@group(0) @binding(4) var<storage, read> delta: array<vec4f>; // [T, B, H]: Δ
// [⌈T/KEPT⌉ + 3, B, S, H]: the states in front of every KEPT-th step and, last of them, behind all steps; the gradient of
// the state behind a step, on its way back; that of A. Then that of D, [B, H].
@group(0) @binding(5) var<storage, read_write> states: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4f>; // [T, B, H]

fn units() -> u32 {
  return (params.H + 3u) / 4u;
}

// Where the states from number n on lie in a slot, for a row.
fn stateRow(slot: u32, b: u32, n: u32) -> u32 {
  return ((slot * params.B + b) * padded(params.N) + n) * units();
}

// Where a step's B begins in xDbl; C is N elements further.
fn inputRow(t: u32, b: u32) -> u32 {
  return (t * params.B + b) * padded(params.R + 2u * params.N) + params.R;
}

// 2^x for x ≤ 0, but of NaN a number; 2^n · 2^f with |f| ≤ ½, a minimax polynomial, within 1.7e-7.
fn exp2Negative(x: vec4f) -> vec4f {
  let y = max(x, vec4f(-126.0));
  // Rounded by the addition of 1.5 · 2²³, as in expNegative.
  let bits = bitcast<vec4u>(y + 12582912.0);
  let f = y - vec4f(bitcast<vec4i>(bits) - vec4i(0x4b400000));
  let p = 1.0 + f * (0.693147 + f * (0.24022242 + f * (0.055507336 + f * (0.009671513 + f * 0.0013264727))));
  return bitcast<vec4f>(bitcast<vec4u>(p) + (bits << vec4u(23u)));
}

const LOG2_E: f32 = 1.44269504;
const LN_2: f32 = 0.69314718;

// 1 − 2^x for x ≤ 0, to the last digits of a small one.
fn oneMinusExp2(x: vec4f) -> vec4f {
  let y = max(x, vec4f(-126.0));
  let bits = bitcast<vec4u>(y + 12582912.0);
  let f = y - vec4f(bitcast<vec4i>(bits) - vec4i(0x4b400000));
  let p = f * (0.693147 + f * (0.24022242 + f * (0.055507336 + f * (0.009671513 + f * 0.0013264727))));
  let scale = bitcast<vec4f>((bits << vec4u(23u)) + vec4u(0x3f800000u));
  return (1.0 - scale) - scale * p;
}

@compute @workgroup_size(LANES)
fn forward(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let W = units();
  let S = padded(params.N);
  // Lanes past the last channels do what those do, but store nothing.
  let unit = min(workgroup.x * LANES + local, W - 1u);
  let own = workgroup.x * LANES + local < W;
  let inside = FOUR + 4u * unit < vec4u(params.H);
  let b = workgroup.y;
  let skip = layer[W * S + unit];
  let end = params.t + params.count;
  var next = params.t;
  while (next < end) {
    let slot = next / KEPT;
    let until = min(end, (slot + 1u) * KEPT);
    // The slot behind holds the states while its steps are under way.
    let source = select(slot + 1u, slot, next % KEPT == 0u);
    for (var n = 0u; n < S; n += 4u) {
      let a = n * W + unit;
      let rate0 = layer[a] * LOG2_E;
      let rate1 = layer[a + W] * LOG2_E;
      let rate2 = layer[a + 2u * W] * LOG2_E;
      let rate3 = layer[a + 3u * W] * LOG2_E;
      let s = stateRow(source, b, n) + unit;
      var h0 = keepNaN(states[s], rate0);
      var h1 = keepNaN(states[s + W], rate1);
      var h2 = keepNaN(states[s + 2u * W], rate2);
      var h3 = keepNaN(states[s + 3u * W], rate3);
      for (var t = next; t < until; t++) {
        let at = (t * params.B + b) * W + unit;
        let step = delta[at];
        let xt = x[params.xOffset / 4u + at];
        let u = step * xt;
        let io = inputsOfFour(inputRow(t, b), n, local);
        h0 = exp2Negative(rate0 * step) * h0 + u * io.B.x;
        h1 = exp2Negative(rate1 * step) * h1 + u * io.B.y;
        h2 = exp2Negative(rate2 * step) * h2 + u * io.B.z;
        h3 = exp2Negative(rate3 * step) * h3 + u * io.B.w;
        var before = skip * xt;
        if (n > 0u) {
          before = y[at];
        }
        if (own) {
          y[at] = select(vec4f(), before + h0 * io.C.x + h1 * io.C.y + h2 * io.C.z + h3 * io.C.w, inside);
        }
      }
      if (own) {
        let to = stateRow(slot + 1u, b, n) + unit;
        // The padding stays zero.
        let last = params.N - 1u - n;
        states[to] = select(vec4f(), h0, inside);
        states[to + W] = select(vec4f(), h1, inside & vec4<bool>(last > 0u));
        states[to + 2u * W] = select(vec4f(), h2, inside & vec4<bool>(last > 1u));
        states[to + 3u * W] = select(vec4f(), h3, inside & vec4<bool>(last > 2u));
      }
    }
    next = until;
  }
}

// ---- Backward: λ, the gradient of h, is that of y times C and what comes from the step behind. KEPT steps stand in
// registers at once, and are gone through for one state after another.
@group(0) @binding(5) var<storage, read_write> dOutput: array<vec4f>; // [T, B, H]: of y; then of what Δ is made of
@group(0) @binding(6) var<storage, read_write> dX: array<vec4f>; // [T, B, H], but for what comes through Δ, B and C
// [⌈H/32⌉, ⌈T/8⌉, B, N, 16]: of B, eight steps, and of C, of 32 channels each.
@group(0) @binding(7) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> kept: array<vec4f>; // `states` above

// Lanes whose channels are summed up.
const GROUP: u32 = 8u;

// Where the partials of a part, the steps from `first` on and a row begin.
fn partialRow(part: u32, first: u32, b: u32) -> u32 {
  return ((part * ((params.T + KEPT - 1u) / KEPT) + first / KEPT) * params.B + b) * params.N * 4u;
}

@compute @workgroup_size(LANES)
fn backward(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let W = units();
  let S = padded(params.N);
  // Lanes past the last channels do what those do, but count nothing and store nothing.
  let unit = min(workgroup.x * LANES + local, W - 1u);
  let own = workgroup.x * LANES + local < W;
  let inside = FOUR + 4u * unit < vec4u(select(0u, params.H, own));
  let b = workgroup.y;
  let low = params.t + 1u - params.count;
  let slots = (params.T + KEPT - 1u) / KEPT;
  let skip = layer[W * S + unit];
  let ofD = stateRow(slots + 3u, 0u, 0u) + b * W + unit;
  var dSkip = kept[ofD];
  var before = params.t + 1u;
  while (before > low) {
    let first = (before - 1u) / KEPT * KEPT;
    var step: array<vec4f, KEPT>; // Δ
    var xs: array<vec4f, KEPT>;
    var dy: array<vec4f, KEPT>;
    var ofU: array<vec4f, KEPT>; // Σ λB
    var ofStep: array<vec4f, KEPT>; // Σ αA / ln 2
    for (var k = 0u; k < KEPT; k++) {
      let at = (min(first + k, before - 1u) * params.B + b) * W + unit;
      // Steps past the last one change nothing.
      let counts = inside & vec4<bool>(first + k < before);
      step[k] = select(vec4f(), delta[at], counts);
      xs[k] = select(vec4f(), x[params.xOffset / 4u + at], counts);
      let d = select(vec4f(), dOutput[at], counts);
      dSkip += d * xs[k];
      // Of Δ that is not a number the gradients are none.
      dy[k] = keepNaN(d, step[k]);
      ofU[k] = vec4f();
      ofStep[k] = vec4f();
    }
    for (var batch = 0u; batch < params.N; batch += BATCH) {
      let until = min(batch + BATCH, params.N);
      for (var n = batch; n < until; n++) {
        // Where A is not a number, states and their gradients are none behind any step.
        let missing = keepNaN(vec4f(), layer[n * W + unit]);
        let rate = select(vec4f(), layer[n * W + unit] * LOG2_E, bitcast<vec4u>(missing) == vec4u());
        let carried = stateRow(slots + 1u, b, n) + unit;
        let io = inputsOfSteps(first, before, b, n, local);
        var h = kept[stateRow(first / KEPT, b, n) + unit] + missing;
        var held: array<vec4f, KEPT>; // h in front of each step
        var decay: array<vec4f, KEPT>;
        var ofB: array<f32, KEPT>;
        var ofC: array<f32, KEPT>;
        for (var k = 0u; k < KEPT; k++) {
          held[k] = h;
          decay[k] = exp2Negative(rate * step[k]);
          h = decay[k] * h + step[k] * xs[k] * io.B[k];
          ofC[k] = dot(dy[k], h);
        }
        // A lane past the last channels may find what that of the last has stored already.
        var g = select(vec4f(), kept[carried], inside);
        var dRate = vec4f();
        for (var i = 0u; i < KEPT; i++) {
          let k = KEPT - 1u - i;
          let lambda = g + dy[k] * io.C[k];
          ofB[k] = dot(lambda, step[k] * xs[k]);
          ofU[k] += lambda * io.B[k];
          g = decay[k] * lambda + select(vec4f(), missing, first + k < before);
          let alpha = g * held[k];
          ofStep[k] += alpha * rate;
          dRate += alpha * step[k];
        }
        if (own) {
          kept[carried] = select(vec4f(), g, inside);
          kept[carried + params.B * S * W] += select(vec4f(), dRate, inside);
        }
        let counts = FOUR + first < vec4u(before);
        let countsNext = FOUR + first + 4u < vec4u(before);
        addUp(
          workgroup.x,
          first,
          b,
          n,
          local,
          select(vec4f(), vec4f(ofB[0], ofB[1], ofB[2], ofB[3]), counts),
          select(vec4f(), vec4f(ofB[4], ofB[5], ofB[6], ofB[7]), countsNext),
          select(vec4f(), vec4f(ofC[0], ofC[1], ofC[2], ofC[3]), counts),
          select(vec4f(), vec4f(ofC[4], ofC[5], ofC[6], ofC[7]), countsNext),
        );
      }
      endBatch(workgroup.x, first, b, batch, until, local);
    }
    if (own) {
      // Of steps past the last one that one's place is written, and written anew by it.
      for (var i = 0u; i < KEPT; i++) {
        let k = KEPT - 1u - i;
        let at = (min(first + k, before - 1u) * params.B + b) * W + unit;
        let dStep = LN_2 * ofStep[k] + xs[k] * ofU[k];
        dX[at] = select(vec4f(), step[k] * ofU[k] + skip * dy[k], inside);
        dOutput[at] = select(vec4f(), dStep * oneMinusExp2(-LOG2_E * step[k]), inside);
      }
    }
    before = first;
  }
  if (own) {
    kept[ofD] = select(vec4f(), dSkip, inside);
  }
}

// ---- sums: the gradients of B and C, from those of 32 channels each.
struct SumsParams { T: u32, B: u32, H: u32, N: u32, R: u32 }
@group(0) @binding(0) var<uniform> sumsParams: SumsParams;
@group(0) @binding(1) var<storage, read> parts: array<f32>; // `partials`
@group(0) @binding(2) var<storage, read_write> dXDbl: array<f32>; // [T, B, R + 2N]

@compute @workgroup_size(64)
fn sums(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = sumsParams;
  let at = linearWorkgroup(workgroup, count) * 64u + local;
  let row = at / (2u * p.N);
  if (row >= p.T * p.B) {
    return;
  }
  let t = row / p.B;
  let ofC = at / p.N % 2u;
  let n = at % p.N;
  let slots = (p.T + KEPT - 1u) / KEPT;
  var sum = 0.0;
  for (var part = 0u; part * GROUP < (p.H + 3u) / 4u; part++) {
    let place = ((part * slots + t / KEPT) * p.B + row % p.B) * p.N + n;
    sum += parts[(2u * place + ofC) * KEPT + t % KEPT];
  }
  dXDbl[row * padded(p.R + 2u * p.N) + p.R + ofC * p.N + n] = sum;
}

// ---- rates: the gradient of log(−A), A times the sum over the rows of that of A.
struct RatesParams {
  B: u32, H: u32, N: u32,
  offset: u32, // elements of `gathered` in front of that of A
}
@group(0) @binding(0) var<uniform> ratesParams: RatesParams;
@group(0) @binding(1) var<storage, read> gathered: array<f32>; // `states`
@group(0) @binding(2) var<storage, read> scalars: array<f32>; // `layer`
@group(0) @binding(3) var<storage, read_write> dALog: array<f32>; // [H, N]

@compute @workgroup_size(64)
fn rates(@builtin(global_invocation_id) id: vec3u) {
  let p = ratesParams;
  let width = padded(p.H);
  let h = id.x % width;
  let n = id.x / width;
  if (h >= p.H || n >= p.N) {
    return;
  }
  var sum = 0.0;
  for (var b = 0u; b < p.B; b++) {
    sum += gathered[p.offset + (b * padded(p.N) + n) * width + h];
  }
  dALog[h * padded(p.N) + n] = scalars[n * width + h] * sum;
}

// ---- turn: the transposes of a batch of matrices, between states as they are carried, [H, N], and as they lie here.
struct TurnParams {
  batch: u32, rows: u32, columns: u32,
  inOffset: u32, outOffset: u32,
}
@group(0) @binding(0) var<uniform> turnParams: TurnParams;
@group(0) @binding(1) var<storage, read> matrices: array<f32>; // [batch, rows, columns] from the offset
@group(0) @binding(2) var<storage, read_write> turned: array<vec4f>; // [batch, columns, rows] from the offset

@compute @workgroup_size(64)
fn turn(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = turnParams;
  let at = linearWorkgroup(workgroup, count) * 64u + local;
  let width = (p.rows + 3u) / 4u;
  let index = at / width; // of a column, through the batch
  if (index >= p.batch * p.columns) {
    return;
  }
  let row = FOUR + 4u * (at % width);
  let stride = padded(p.columns);
  let start = p.inOffset + (index / p.columns * p.rows + min(row, vec4u(p.rows - 1u))) * stride + index % p.columns;
  let value = vec4f(matrices[start.x], matrices[start.y], matrices[start.z], matrices[start.w]);
  turned[p.outOffset / 4u + at] = select(vec4f(), value, row < vec4u(p.rows));
}
