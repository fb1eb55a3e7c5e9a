// Rung 2: a wavefront. One dispatch does step d − l of every layer l, so that L layers take T + L − 1 dispatches, and
// not L·T. A layer above the first computes its input's products in the step itself, because they are not there before.
struct Params { B: u32, H: u32, T: u32, d: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> xProjection: array<vec4f>; // [V, 4, H], of the first layer
@group(0) @binding(2) var<storage, read> rows: array<u32>; // [T, B]
@group(0) @binding(3) var<storage, read> packed: array<vec4f>; // [L, H + 1, 4, H]: W_hhᵀ, then b_hh
@group(0) @binding(4) var<storage, read> inputs: array<vec4f>; // [L, H + 1, 4, H]: W_ihᵀ, then b_ih; of layer 0 unused
@group(0) @binding(5) var<storage, read_write> h: array<vec4f>; // [L, T + 1, B, H]
@group(0) @binding(6) var<storage, read_write> c: array<vec4f>; // [L, T + 1, B, H]
@group(0) @binding(7) var<storage, read_write> gates: array<vec4f>; // [L, T, B, 4, H]

alias Rows = array<vec4f, 8>;

fn row(layer: u32, t: u32, b: u32) -> u32 {
  return ((layer * (params.T + 1u) + t) * params.B + min(b, params.B - 1u)) * (params.H / 4u);
}

fn packedSum(layer: u32, from_: u32, t: u32, gate: u32, b: u32, unit: u32) -> Rows {
  let n = params.H / 4u;
  let stride = 4u * n;
  let base = layer * (params.H + 1u) * stride + gate * n + unit;
  let h0 = row(from_, t, b + 0u);
  let h1 = row(from_, t, b + 1u);
  let h2 = row(from_, t, b + 2u);
  let h3 = row(from_, t, b + 3u);
  let h4 = row(from_, t, b + 4u);
  let h5 = row(from_, t, b + 5u);
  let h6 = row(from_, t, b + 6u);
  let h7 = row(from_, t, b + 7u);
  var s0 = packed[base + params.H * stride];
  var s1 = s0;
  var s2 = s0;
  var s3 = s0;
  var s4 = s0;
  var s5 = s0;
  var s6 = s0;
  var s7 = s0;
  for (var k = 0u; k < n; k++) {
    let at = base + 4u * k * stride;
    let block = mat4x4f(packed[at], packed[at + stride], packed[at + 2u * stride], packed[at + 3u * stride]);
    s0 += block * h[h0 + k];
    s1 += block * h[h1 + k];
    s2 += block * h[h2 + k];
    s3 += block * h[h3 + k];
    s4 += block * h[h4 + k];
    s5 += block * h[h5 + k];
    s6 += block * h[h6 + k];
    s7 += block * h[h7 + k];
  }
  return Rows(s0, s1, s2, s3, s4, s5, s6, s7);
}

fn inputsSum(layer: u32, from_: u32, t: u32, gate: u32, b: u32, unit: u32) -> Rows {
  let n = params.H / 4u;
  let stride = 4u * n;
  let base = layer * (params.H + 1u) * stride + gate * n + unit;
  let h0 = row(from_, t, b + 0u);
  let h1 = row(from_, t, b + 1u);
  let h2 = row(from_, t, b + 2u);
  let h3 = row(from_, t, b + 3u);
  let h4 = row(from_, t, b + 4u);
  let h5 = row(from_, t, b + 5u);
  let h6 = row(from_, t, b + 6u);
  let h7 = row(from_, t, b + 7u);
  var s0 = inputs[base + params.H * stride];
  var s1 = s0;
  var s2 = s0;
  var s3 = s0;
  var s4 = s0;
  var s5 = s0;
  var s6 = s0;
  var s7 = s0;
  for (var k = 0u; k < n; k++) {
    let at = base + 4u * k * stride;
    let block = mat4x4f(inputs[at], inputs[at + stride], inputs[at + 2u * stride], inputs[at + 3u * stride]);
    s0 += block * h[h0 + k];
    s1 += block * h[h1 + k];
    s2 += block * h[h2 + k];
    s3 += block * h[h3 + k];
    s4 += block * h[h4 + k];
    s5 += block * h[h5 + k];
    s6 += block * h[h6 + k];
    s7 += block * h[h7 + k];
  }
  return Rows(s0, s1, s2, s3, s4, s5, s6, s7);
}

@compute @workgroup_size(8)
fn step(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let n = params.H / 4u;
  let layer = workgroup.z;
  let unit = workgroup.x * 8u + local;
  if (unit >= n || params.d < layer || params.d - layer >= params.T) {
    return;
  }
  let t = params.d - layer;
  let b = workgroup.y * 8u;
  var sums: array<Rows, 4>;
  for (var gate = 0u; gate < 4u; gate++) {
    sums[gate] = packedSum(layer, layer, t, gate, b, unit);
    if (layer > 0u) {
      let below = inputsSum(layer, layer - 1u, t + 1u, gate, b, unit);
      for (var r = 0u; r < 8u; r++) {
        sums[gate][r] += below[r];
      }
    }
  }
  for (var r = 0u; r < 8u && b + r < params.B; r++) {
    var a: array<vec4f, 4>;
    for (var gate = 0u; gate < 4u; gate++) {
      a[gate] = sums[gate][r];
      if (layer == 0u) {
        a[gate] += xProjection[(rows[t * params.B + b + r] * 4u + gate) * n + unit];
      }
    }
    let i = sigmoid(a[0]);
    let f = sigmoid(a[1]);
    let g = safeTanh(a[2]);
    let o = sigmoid(a[3]);
    let state = f * c[row(layer, t, b + r) + unit] + i * g;
    c[row(layer, t + 1u, b + r) + unit] = state;
    h[row(layer, t + 1u, b + r) + unit] = o * safeTanh(state);
    let at = ((layer * params.T + t) * params.B + b + r) * 4u * n + unit;
    gates[at] = i;
    gates[at + n] = f;
    gates[at + 2u * n] = g;
    gates[at + 3u * n] = o;
  }
}
