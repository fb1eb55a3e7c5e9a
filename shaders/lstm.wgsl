// One time step of the LSTM for all rows of the batch, with recurrent.wgsl and steps.wgsl. Gates in the order i, f, g, o.

const GATES: u32 = 4u;

// ---- forward
@group(0) @binding(1) var<storage, read> xProjection: array<vec4f>; // [R, 4, H]: x·W_ihᵀ + b_ih
@group(0) @binding(2) var<storage, read> rows: array<u32>; // [T, B]
@group(0) @binding(3) var<storage, read> packed: array<Weight4>; // [H + 1, 4, H]: W_hhᵀ, then b_hh
@group(0) @binding(4) var<storage, read_write> h: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(5) var<storage, read_write> c: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(6) var<storage, read_write> gates: array<Saved4>; // [T, B, 4, H]: activated i, f, g, o

// `sum` is h·W_hhᵀ + b_hh of the four gates.
fn finishForward(t: u32, b: u32, unit: u32, sum: Gates) {
  let n = units();
  let cell = t * params.B + b;
  let x = 4u * projectionRow(cell) * n + unit;
  let i = unitSigmoid(sum[0] + xProjection[x], unit);
  let f = unitSigmoid(sum[1] + xProjection[x + n], unit);
  let g = unitTanh(sum[2] + xProjection[x + 2u * n], unit);
  let o = unitSigmoid(sum[3] + xProjection[x + 3u * n], unit);
  let state = f * c[cell * n + unit] + i * g;
  let next = (cell + params.B) * n + unit;
  c[next] = state;
  h[next] = o * safeTanh(state);
  let at = 4u * cell * n + unit;
  gates[at] = Saved4(i);
  gates[at + n] = Saved4(f);
  gates[at + 2u * n] = Saved4(g);
  gates[at + 3u * n] = Saved4(o);
}

// ---- backward
@group(0) @binding(1) var<storage, read> dOutput: array<vec4f>; // [T, B, H]
@group(0) @binding(2) var<storage, read> savedGates: array<Saved4>; // [T, B, 4, H]
@group(0) @binding(3) var<storage, read> savedC: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(4) var<storage, read> weight: array<Weight4>; // W_hh [4, H, H]
@group(0) @binding(5) var<storage, read_write> dGates: array<vec4f>; // [T, B, 4, H]
@group(0) @binding(6) var<storage, read_write> dC: array<vec4f>; // [B, H]: from step t + 1, then for t - 1

// `sum` is what comes back through W_hh from step t + 1.
fn finishBackward(t: u32, b: u32, unit: u32, sum: vec4f) {
  let n = units();
  let cell = t * params.B + b;
  let at = 4u * cell * n + unit;
  let i = vec4f(savedGates[at]);
  let f = vec4f(savedGates[at + n]);
  let g = vec4f(savedGates[at + 2u * n]);
  let o = vec4f(savedGates[at + 3u * n]);
  let state = cell * n + unit;
  let before = savedC[state];
  let after = safeTanh(savedC[state + params.B * n]);
  let dh = ofUnits(dOutput[state] + sum, unit);
  let dc = dC[b * n + unit] + dh * o * (1.0 - after * after);
  dGates[at] = dc * g * i * (1.0 - i);
  dGates[at + n] = dc * before * f * (1.0 - f);
  dGates[at + 2u * n] = dc * i * (1.0 - g * g);
  dGates[at + 3u * n] = dh * after * o * (1.0 - o);
  dC[b * n + unit] = dc * f;
}
