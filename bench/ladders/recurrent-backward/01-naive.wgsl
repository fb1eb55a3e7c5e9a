// Rung 1: one invocation a unit of a row, one scalar dot product over the gate gradients of the step after.
struct Params { B: u32, H: u32, t: u32, count: u32, gather: u32, last: u32, relu: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dOutput: array<f32>; // [T, B, H]
@group(0) @binding(2) var<storage, read> savedGates: array<f32>; // [T, B, 4, H]
@group(0) @binding(3) var<storage, read> savedC: array<f32>; // [T + 1, B, H]
@group(0) @binding(4) var<storage, read> weight: array<f32>; // W_hh [4, H, H]
@group(0) @binding(5) var<storage, read_write> dGates: array<f32>; // [T, B, 4, H]
@group(0) @binding(6) var<storage, read_write> dC: array<f32>; // [B, H]

@compute @workgroup_size(8, 8)
fn backwardNaive(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.H || id.y >= params.B) {
    return;
  }
  let n = (params.H + 3u) / 4u * 4u;
  let unit = id.x;
  let cell = params.t * params.B + id.y;
  var dh = dOutput[cell * n + unit];
  if (params.last == 0u) {
    for (var j = 0u; j < 4u * n; j++) {
      dh += dGates[(cell + params.B) * 4u * n + j] * weight[j * n + unit];
    }
  }
  let at = cell * 4u * n + unit;
  let i = savedGates[at];
  let f = savedGates[at + n];
  let g = savedGates[at + 2u * n];
  let o = savedGates[at + 3u * n];
  let before = savedC[cell * n + unit];
  let after = safeTanh(vec4f(savedC[(cell + params.B) * n + unit])).x;
  let dc = dC[id.y * n + unit] + dh * o * (1.0 - after * after);
  dGates[at] = dc * g * i * (1.0 - i);
  dGates[at + n] = dc * before * f * (1.0 - f);
  dGates[at + 2u * n] = dc * i * (1.0 - g * g);
  dGates[at + 3u * n] = dh * after * o * (1.0 - o);
  dC[id.y * n + unit] = dc * f;
}
