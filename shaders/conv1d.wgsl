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

// ---- input: the gradient of x
@group(0) @binding(1) var<storage, read> dU: array<vec4f>; // [T, B, channels]
@group(0) @binding(2) var<storage, read> inputWeight: array<f32>; // [channels, 1, K]
@group(0) @binding(3) var<storage, read_write> dX: array<vec4f>; // [T, B, stride]

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
  let step = padded(params.K);
  let later = params.B * params.W / 4u;
  var sum = vec4f();
  for (var ahead = 0u; ahead < min(params.K, params.T - p.t); ahead++) {
    let at = 4u * p.channel * step + params.K - 1u - ahead;
    let w = vec4f(inputWeight[at], inputWeight[at + step], inputWeight[at + 2u * step], inputWeight[at + 3u * step]);
    sum += w * dU[p.at + ahead * later];
  }
  dX[(p.t * params.B + p.b) * (params.stride / 4u) + p.channel] = sum;
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
  if (lane != 0u) {
    return;
  }
  let total = parts[0];
  if (k == params.K) {
    dBias[channel] = total;
    return;
  }
  let step = padded(params.K);
  for (var i = 0u; i < 4u; i++) {
    dWeight[(4u * channel + i) * step + k] = total[i];
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
