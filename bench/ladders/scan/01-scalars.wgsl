// Rung 1: one invocation a unit of a row, scalar loads, through all steps.
struct Params { B: u32, H: u32, t: u32, count: u32, chunk: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> ends: array<f32>;
@group(0) @binding(2) var<storage, read_write> gates: array<f32>; // [T, B, 2, H]
@group(0) @binding(3) var<storage, read_write> h: array<f32>; // [T + 1, B, H]

@compute @workgroup_size(8)
fn forwardScalars(@builtin(global_invocation_id) id: vec3u) {
  let width = (params.H + 3u) / 4u * 4u;
  let b = id.x / width;
  let unit = id.x % width;
  if (b >= params.B || unit >= params.H) {
    return;
  }
  var state = h[(params.t * params.B + b) * width + unit];
  for (var t = params.t; t < params.t + params.count; t++) {
    let cell = t * params.B + b;
    let at = 2u * cell * width + unit;
    let u = gates[at];
    let g = select(sigmoid(vec4f(u)).x, u + 0.5, u >= 0.0);
    let z = sigmoid(vec4f(gates[at + width])).x;
    gates[at] = g;
    gates[at + width] = z;
    state = (1.0 - z) * state + z * g;
    h[(cell + params.B) * width + unit] = state;
  }
}
