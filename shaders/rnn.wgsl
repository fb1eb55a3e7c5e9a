// One time step of the vanilla RNN for all rows of the batch, with recurrent.wgsl and steps.wgsl.

const GATES: u32 = 1u;

// ---- forward
@group(0) @binding(1) var<storage, read> xProjection: array<vec4f>; // [R, 1, H]: x·W_ihᵀ + b_ih
@group(0) @binding(2) var<storage, read> rows: array<u32>; // [T, B]
@group(0) @binding(3) var<storage, read> packed: array<Weight4>; // [H + 1, 1, H]: W_hhᵀ, then b_hh
@group(0) @binding(4) var<storage, read_write> h: array<vec4f>; // [T + 1, B, H]

fn finishForward(t: u32, b: u32, unit: u32, sum: Gates) {
  let cell = t * params.B + b;
  let a = sum[0] + xProjection[projectionRow(cell) * units() + unit];
  let value = select(safeTanh(a), keepNaN(max(a, vec4f()), a), params.relu != 0u);
  h[(cell + params.B) * units() + unit] = ofUnits(value, unit);
}

// ---- backward
@group(0) @binding(1) var<storage, read> dOutput: array<vec4f>; // [T, B, H]
@group(0) @binding(2) var<storage, read> savedH: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(3) var<storage, read> weight: array<Weight4>; // W_hh [1, H, H]
@group(0) @binding(4) var<storage, read_write> dGates: array<vec4f>; // [T, B, 1, H]

// `sum` is what comes back through W_hh from step t + 1.
fn finishBackward(t: u32, b: u32, unit: u32, sum: vec4f) {
  let at = (t * params.B + b) * units() + unit;
  let value = savedH[at + params.B * units()];
  let reluSlope = select(vec4f(), vec4f(1.0), value > vec4f());
  dGates[at] = ofUnits(dOutput[at] + sum, unit) * select(1.0 - value * value, reluSlope, params.relu != 0u);
}
