// Rung 1: one invocation a unit of a row, four scalar dot products over h, then the gates.
struct Params { B: u32, H: u32, t: u32, count: u32, gather: u32, last: u32, relu: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> xProjection: array<f32>; // [R, 4, H]
@group(0) @binding(2) var<storage, read> rows: array<u32>; // [T, B]
@group(0) @binding(3) var<storage, read> packed: array<f32>; // [H + 1, 4, H]
@group(0) @binding(4) var<storage, read_write> h: array<f32>; // [T + 1, B, H]
@group(0) @binding(5) var<storage, read_write> c: array<f32>; // [T + 1, B, H]
@group(0) @binding(6) var<storage, read_write> gates: array<f32>; // [T, B, 4, H]

fn scalarSigmoid(x: f32) -> f32 {
  return sigmoid(vec4f(x)).x;
}

@compute @workgroup_size(8, 8)
fn forwardNaive(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.H || id.y >= params.B) {
    return;
  }
  let n = (params.H + 3u) / 4u * 4u;
  let unit = id.x;
  let cell = params.t * params.B + id.y;
  var row = cell;
  if (params.gather != 0u) {
    row = rows[cell];
  }
  var sum: array<f32, 4>;
  for (var gate = 0u; gate < 4u; gate++) {
    sum[gate] = packed[(n * 4u + gate) * n + unit] + xProjection[(row * 4u + gate) * n + unit];
    for (var k = 0u; k < params.H; k++) {
      sum[gate] += h[cell * n + k] * packed[(k * 4u + gate) * n + unit];
    }
  }
  let i = scalarSigmoid(sum[0]);
  let f = scalarSigmoid(sum[1]);
  let g = safeTanh(vec4f(sum[2])).x;
  let o = scalarSigmoid(sum[3]);
  let state = f * c[cell * n + unit] + i * g;
  let next = (cell + params.B) * n + unit;
  c[next] = state;
  h[next] = o * safeTanh(vec4f(state)).x;
  let at = cell * 4u * n + unit;
  gates[at] = i;
  gates[at + n] = f;
  gates[at + 2u * n] = g;
  gates[at + 3u * n] = o;
}
