// One time step of the GRU, reset after the product, for all rows of the batch, with recurrent.wgsl.
// Gates in the order r, z, n.

const GATES: u32 = 3u;

// ---- forward
@group(0) @binding(1) var<storage, read> xProjection: array<vec4f>; // [R, 3, H]: x·W_ihᵀ + b_ih
@group(0) @binding(2) var<storage, read> rows: array<u32>; // [T, B]
@group(0) @binding(3) var<storage, read> packed: array<vec4f>; // [H + 1, 3, H]: W_hhᵀ, then b_hh
@group(0) @binding(4) var<storage, read_write> h: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(5) var<storage, read_write> gates: array<vec4f>; // [T, B, 4, H]: r, z, n and W_hn·h + b_hn

fn finish(b: u32, unit: u32, sum: mat3x4f) {
  let units = units();
  let cell = params.t * params.B + b;
  let x = 3u * projectionRow(cell) * units + unit;
  let r = unitSigmoid(sum[0] + xProjection[x], unit);
  let z = unitSigmoid(sum[1] + xProjection[x + units], unit);
  let n = safeTanh(xProjection[x + 2u * units] + r * sum[2]);
  let before = h[cell * units + unit];
  h[(cell + params.B) * units + unit] = (1.0 - z) * n + z * before;
  let at = 4u * cell * units + unit;
  gates[at] = r;
  gates[at + units] = z;
  gates[at + 2u * units] = n;
  gates[at + 3u * units] = sum[2];
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let unit = workgroup.x * WORKGROUP + local;
  if (unit >= units()) {
    return;
  }
  let b = workgroup.y * ROWS;
  var sums: array<Rows, 3>;
  for (var gate = 0u; gate < 3u; gate++) {
    sums[gate] = gateSum(gate, b, unit);
  }
  for (var r = 0u; r < ROWS && b + r < params.B; r++) {
    finish(b + r, unit, mat3x4f(sums[0][r], sums[1][r], sums[2][r]));
  }
}

// ---- backward
@group(0) @binding(1) var<storage, read> dOutput: array<vec4f>; // [T, B, H]
@group(0) @binding(2) var<storage, read> savedGates: array<vec4f>; // [T, B, 4, H]
@group(0) @binding(3) var<storage, read> savedH: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(4) var<storage, read> weight: array<vec4f>; // W_hh [3, H, H]
@group(0) @binding(5) var<storage, read_write> dGates: array<vec4f>; // [T, B, 3, H]: of h·W_hhᵀ + b_hh
@group(0) @binding(6) var<storage, read_write> dProjection: array<vec4f>; // [T, B, 3, H]: of xProjection
@group(0) @binding(7) var<storage, read_write> dH: array<vec4f>; // [B, H]: past the gates, from step t + 1, then for t - 1

fn finishBackward(b: u32, unit: u32, sum: vec4f) {
  let units = units();
  let cell = params.t * params.B + b;
  let saved = 4u * cell * units + unit;
  let r = savedGates[saved];
  let z = savedGates[saved + units];
  let n = savedGates[saved + 2u * units];
  let product = savedGates[saved + 3u * units];
  let state = cell * units + unit;
  let dh = dOutput[state] + dH[b * units + unit] + sum;
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

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let unit = workgroup.x * WORKGROUP + local;
  if (unit >= units()) {
    return;
  }
  let b = workgroup.y * ROWS;
  let sums = gradientFromNext(GATES, b, unit);
  for (var r = 0u; r < ROWS && b + r < params.B; r++) {
    finishBackward(b + r, unit, sums[r]);
  }
}
