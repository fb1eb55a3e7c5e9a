// One time step of the GRU, reset after the product, for all rows of the batch, with recurrent.wgsl and steps.wgsl.
// Gates in the order r, z, n.

const GATES: u32 = 3u;

// ---- forward
@group(0) @binding(1) var<storage, read> xProjection: array<vec4f>; // [R, 3, H]: x·W_ihᵀ + b_ih
@group(0) @binding(2) var<storage, read> rows: array<u32>; // [T, B]
@group(0) @binding(3) var<storage, read> packed: array<Weight4>; // [H + 1, 3, H]: W_hhᵀ, then b_hh
@group(0) @binding(4) var<storage, read_write> h: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(5) var<storage, read_write> gates: array<Saved4>; // [T, B, 4, H]: r, z, n and W_hn·h + b_hn

// `sum` is h·W_hhᵀ + b_hh of the three gates.
fn finishForward(t: u32, b: u32, unit: u32, sum: Gates) {
  let units = units();
  let cell = t * params.B + b;
  let x = 3u * projectionRow(cell) * units + unit;
  let r = unitSigmoid(sum[0] + xProjection[x], unit);
  let z = unitSigmoid(sum[1] + xProjection[x + units], unit);
  let product = ofUnits(sum[2], unit);
  let n = unitTanh(xProjection[x + 2u * units] + r * product, unit);
  let before = h[cell * units + unit];
  h[(cell + params.B) * units + unit] = (1.0 - z) * n + z * before;
  let at = 4u * cell * units + unit;
  gates[at] = Saved4(r);
  gates[at + units] = Saved4(z);
  gates[at + 2u * units] = Saved4(n);
  gates[at + 3u * units] = Saved4(product);
}

// ---- backward
@group(0) @binding(1) var<storage, read> dOutput: array<vec4f>; // [T, B, H]
@group(0) @binding(2) var<storage, read> savedGates: array<Saved4>; // [T, B, 4, H]
@group(0) @binding(3) var<storage, read> savedH: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(4) var<storage, read> weight: array<Weight4>; // W_hh [3, H, H]
@group(0) @binding(5) var<storage, read_write> dGates: array<vec4f>; // [T, B, 3, H]: of h·W_hhᵀ + b_hh
@group(0) @binding(6) var<storage, read_write> dProjection: array<vec4f>; // [T, B, 3, H]: of xProjection
@group(0) @binding(7) var<storage, read_write> dH: array<vec4f>; // [B, H]: past the gates, from step t + 1, then for t - 1

// `sum` is what comes back through W_hh from step t + 1.
fn finishBackward(t: u32, b: u32, unit: u32, sum: vec4f) {
  let units = units();
  let cell = t * params.B + b;
  let saved = 4u * cell * units + unit;
  let r = vec4f(savedGates[saved]);
  let z = vec4f(savedGates[saved + units]);
  let n = vec4f(savedGates[saved + 2u * units]);
  let product = vec4f(savedGates[saved + 3u * units]);
  let state = cell * units + unit;
  let dh = ofUnits(dOutput[state] + dH[b * units + unit] + sum, unit);
  let dn = dh * (1.0 - z) * (1.0 - n * n);
  let dz = dh * (savedH[state] - n) * z * (1.0 - z);
  let dr = dn * product * r * (1.0 - r);
  let at = 3u * cell * units + unit;
  dGates[at] = dr;
  dGates[at + units] = dz;
  dGates[at + 2u * units] = dn * r;
  dProjection[at] = dr;
  dProjection[at + units] = dz;
  dProjection[at + 2u * units] = dn;
  dH[b * units + unit] = dh * z;
}
