// A causal convolution over time, each channel by itself, and SiLU behind it:
//   u[t] = bias + Σ_k weight[k] · x[t − (K − 1) + k]      y = u·σ(u)
// What stands in front of step 0 lies in `before`: x[j − (K − 1)] at j. Channels are padded to a multiple of four everywhere.

struct Params {
  B: u32, W: u32, // rows of a step, and the stored length of one of y
  K: u32,
  T: u32, // steps in all
  t: u32, count: u32, // the first step, and how many
  stride: u32, // the stored length of a row of x and dX, which begins with the channels
}
@group(0) @binding(0) var<uniform> params: Params;

fn padded(n: u32) -> u32 {
  return (n + 3u) / 4u * 4u;
}

// ---- forward
@group(0) @binding(1) var<storage, read> x: array<vec4f>; // [T, B, stride]
@group(0) @binding(2) var<storage, read> before: array<f32>; // [B, channels, K - 1]
@group(0) @binding(3) var<storage, read> weight: array<f32>; // [channels, 1, K]
@group(0) @binding(4) var<storage, read> bias: array<vec4f>; // [channels]
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>; // [T, B, channels]

fn weightOf(channel: u32, k: u32) -> vec4f {
  let step = padded(params.K);
  let at = 4u * channel * step + k;
  return vec4f(weight[at], weight[at + step], weight[at + 2u * step], weight[at + 3u * step]);
}

// x of row b, four channels, `back` steps before step t.
fn inputAt(t: u32, back: u32, b: u32, channel: u32) -> vec4f {
  if (back <= t) {
    return x[((t - back) * params.B + b) * (params.stride / 4u) + channel];
  }
  let step = padded(params.K - 1u);
  let at = (b * params.W + 4u * channel) * step + params.K - 1u + t - back;
  return vec4f(before[at], before[at + step], before[at + 2u * step], before[at + 3u * step]);
}

fn convolution(t: u32, b: u32, channel: u32) -> vec4f {
  var sum = bias[channel];
  for (var k = 0u; k < params.K; k++) {
    sum += weightOf(channel, k) * inputAt(t, params.K - 1u - k, b, channel);
  }
  return sum;
}

struct Place {
  own: bool,
  t: u32, b: u32, channel: u32,
  at: u32, // in [T, B, channels]
}

fn placeOf(i: u32) -> Place {
  let w = params.W / 4u;
  let row = params.t * params.B + i / w;
  return Place(i / w < params.count * params.B, row / params.B, row % params.B, i % w, row * w + i % w);
}

@compute @workgroup_size(64)
fn forward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = placeOf(linearWorkgroup(workgroup, count) * 64u + local);
  if (p.own) {
    let u = convolution(p.t, p.b, p.channel);
    y[p.at] = u * sigmoid(u);
  }
}

// ---- The same for K = 4, STEPS steps an invocation: each value is loaded once and added to the four sums it is a tap of.
const STEPS: u32 = 16u;
const TAPS: u32 = 4u;

struct Strip {
  b: u32, channel: u32,
  first: u32, count: u32, // steps
}

// Strip i, counted through; of no steps, if there is none.
fn stripOf(i: u32) -> Strip {
  let w = params.W / 4u;
  let done = i / (params.B * w) * STEPS;
  return Strip(i / w % params.B, i % w, params.t + done, min(STEPS, max(params.count, done) - done));
}

fn rowOf(strip: Strip, step: u32) -> u32 {
  return (strip.first + step) * params.B + strip.b;
}

// Sums that have one to four of their taps, from those that had none to three: the last is whole.
fn tapped(sums: mat4x4f, start: vec4f, taps: mat4x4f, x: vec4f) -> mat4x4f {
  return mat4x4f(start + taps[0] * x, sums[0] + taps[1] * x, sums[1] + taps[2] * x, sums[2] + taps[3] * x);
}

fn tapsOf(channel: u32) -> mat4x4f {
  return mat4x4f(weightOf(channel, 0u), weightOf(channel, 1u), weightOf(channel, 2u), weightOf(channel, 3u));
}

@compute @workgroup_size(64)
fn forwardSteps(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let strip = stripOf(linearWorkgroup(workgroup, count) * 64u + local);
  if (strip.count == 0u) {
    return;
  }
  let taps = tapsOf(strip.channel);
  let start = bias[strip.channel];
  var sums = mat4x4f();
  for (var i = 0u; i < TAPS - 1u + strip.count; i++) {
    sums = tapped(sums, start, taps, inputAt(strip.first + i, TAPS - 1u, strip.b, strip.channel));
    if (i >= TAPS - 1u) {
      let u = sums[3];
      y[rowOf(strip, i - (TAPS - 1u)) * (params.W / 4u) + strip.channel] = u * sigmoid(u);
    }
  }
}

// ---- activation: from the gradient of y to that of u, in place
// x, before, weight, bias at bindings 1 to 4
@group(0) @binding(5) var<storage, read_write> d: array<vec4f>; // [T, B, channels]

@compute @workgroup_size(64)
fn activation(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = placeOf(linearWorkgroup(workgroup, count) * 64u + local);
  if (p.own) {
    let u = convolution(p.t, p.b, p.channel);
    let s = sigmoid(u);
    d[p.at] *= s + u * s * (1.0 - s);
  }
}

@compute @workgroup_size(64)
fn activationSteps(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let strip = stripOf(linearWorkgroup(workgroup, count) * 64u + local);
  if (strip.count == 0u) {
    return;
  }
  let taps = tapsOf(strip.channel);
  let start = bias[strip.channel];
  var sums = mat4x4f();
  for (var i = 0u; i < TAPS - 1u + strip.count; i++) {
    sums = tapped(sums, start, taps, inputAt(strip.first + i, TAPS - 1u, strip.b, strip.channel));
    if (i >= TAPS - 1u) {
      let u = sums[3];
      let s = sigmoid(u);
      d[rowOf(strip, i - (TAPS - 1u)) * (params.W / 4u) + strip.channel] *= s + u * s * (1.0 - s);
    }
  }
}

// ---- input: the gradient of x
@group(0) @binding(1) var<storage, read> dU: array<vec4f>; // [T, B, channels]
@group(0) @binding(2) var<storage, read> inputWeight: array<f32>; // [channels, 1, K]
@group(0) @binding(3) var<storage, read_write> dX: array<vec4f>; // [T, B, stride]

fn inputWeightOf(channel: u32, k: u32) -> vec4f {
  let step = padded(params.K);
  let at = 4u * channel * step + k;
  return vec4f(inputWeight[at], inputWeight[at + step], inputWeight[at + 2u * step], inputWeight[at + 3u * step]);
}

@compute @workgroup_size(64)
fn input(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = placeOf(linearWorkgroup(workgroup, count) * 64u + local);
  if (!p.own) {
    return;
  }
  let later = params.B * params.W / 4u;
  var sum = vec4f();
  for (var ahead = 0u; ahead < min(params.K, params.T - p.t); ahead++) {
    sum += inputWeightOf(p.channel, params.K - 1u - ahead) * dU[p.at + ahead * later];
  }
  dX[(p.t * params.B + p.b) * (params.stride / 4u) + p.channel] = sum;
}

// The gradient of x at a step is whole when the third step after it has been added, or passed, behind the last.
@compute @workgroup_size(64)
fn inputSteps(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let strip = stripOf(linearWorkgroup(workgroup, count) * 64u + local);
  if (strip.count == 0u) {
    return;
  }
  let channel = strip.channel;
  let taps = mat4x4f(inputWeightOf(channel, 3u), inputWeightOf(channel, 2u), inputWeightOf(channel, 1u), inputWeightOf(channel, 0u));
  var sums = mat4x4f();
  for (var i = 0u; i < TAPS - 1u + strip.count; i++) {
    if (strip.first + i < params.T) {
      sums = tapped(sums, vec4f(), taps, dU[rowOf(strip, i) * (params.W / 4u) + channel]);
    } else {
      sums = mat4x4f(vec4f(), sums[0], sums[1], sums[2]);
    }
    if (i >= TAPS - 1u) {
      dX[rowOf(strip, i - (TAPS - 1u)) * (params.stride / 4u) + channel] = sums[3];
    }
  }
}

// ---- weights: the gradients of the weight, a workgroup for four channels and one k, and of the bias, for k = K
// x at binding 1, before at 2
@group(0) @binding(3) var<storage, read> dRows: array<vec4f>; // [T, B, channels]
@group(0) @binding(4) var<storage, read_write> dWeight: array<f32>; // [channels, 1, K]
@group(0) @binding(5) var<storage, read_write> dBias: array<vec4f>; // [channels]

const LANES: u32 = 64u;
var<workgroup> parts: array<vec4f, LANES>;

@compute @workgroup_size(LANES)
fn weights(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  let w = params.W / 4u;
  let channel = workgroup.x;
  let k = workgroup.y;
  var sum = vec4f();
  for (var row = lane; row < params.T * params.B; row += LANES) {
    var factor = vec4f(1.0);
    if (k < params.K) {
      factor = inputAt(row / params.B, params.K - 1u - k, row % params.B, channel);
    }
    sum += dRows[row * w + channel] * factor;
  }
  parts[lane] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      parts[lane] += parts[lane + half];
    }
  }
  if (lane == 0u) {
    writeSum(channel, k, parts[0]);
  }
}

fn writeSum(channel: u32, k: u32, sum: vec4f) {
  if (k == params.K) {
    dBias[channel] = sum;
    return;
  }
  let step = padded(params.K);
  for (var i = 0u; i < 4u; i++) {
    dWeight[(4u * channel + i) * step + k] = sum[i];
  }
}

// For K = 4, a workgroup for four channels: all sums at once, in the same order.
var<workgroup> tapParts: array<array<vec4f, TAPS + 1u>, LANES>;

@compute @workgroup_size(LANES)
fn weightsTogether(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  let w = params.W / 4u;
  let channel = workgroup.x;
  var sums = mat4x4f();
  var ofBias = vec4f();
  for (var row = lane; row < params.T * params.B; row += LANES) {
    let t = row / params.B;
    let b = row % params.B;
    let value = dRows[row * w + channel];
    sums[0] += value * inputAt(t, 3u, b, channel);
    sums[1] += value * inputAt(t, 2u, b, channel);
    sums[2] += value * inputAt(t, 1u, b, channel);
    sums[3] += value * inputAt(t, 0u, b, channel);
    ofBias += value;
  }
  tapParts[lane] = array<vec4f, TAPS + 1u>(sums[0], sums[1], sums[2], sums[3], ofBias);
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    for (var k = 0u; k <= TAPS && lane < half; k++) {
      tapParts[lane][k] += tapParts[lane + half][k];
    }
  }
  for (var k = 0u; k <= TAPS && lane == 0u; k++) {
    writeSum(channel, k, tapParts[0][k]);
  }
}

// ---- carry: what stands in front of the steps that come after
// x at binding 1, before at 2
@group(0) @binding(3) var<storage, read_write> after: array<f32>; // [B, channels, K - 1]

@compute @workgroup_size(64)
fn carry(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = linearWorkgroup(workgroup, count) * 64u + local;
  let w = params.W / 4u;
  let b = i / w;
  if (b >= params.B) {
    return;
  }
  let step = padded(params.K - 1u);
  let at = (b * params.W + 4u * (i % w)) * step;
  for (var j = 0u; j + 1u < params.K; j++) {
    // Step T + j − (K − 1), which is as many before step T − 1.
    let value = inputAt(params.T - 1u, params.K - 2u - j, b, i % w);
    for (var c = 0u; c < 4u; c++) {
      after[at + c * step + j] = value[c];
    }
  }
}
