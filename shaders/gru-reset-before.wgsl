// One time step of the GRU, reset before the product, for all rows of the batch, with recurrent.wgsl. The
// candidate's product needs r ⊙ h of all units, so that a step takes two dispatches in each direction.
// Gates in the order r, z, n.

const GATES: u32 = 3u;

// ---- forward: first r and z, then the candidate n and the new state
@group(0) @binding(1) var<storage, read> xProjection: array<vec4f>; // [R, 3, H]: x·W_ihᵀ + b_ih
@group(0) @binding(2) var<storage, read> rows: array<u32>; // [T, B]
@group(0) @binding(3) var<storage, read> packed: array<Weight4>; // [H + 1, 3, H]: W_hhᵀ, then b_hh
@group(0) @binding(4) var<storage, read_write> h: array<vec4f>; // what W_hh multiplies: h [T + 1, B, H], then gatedH
@group(0) @binding(5) var<storage, read_write> gates: array<Saved4>; // [T, B, 3, H]: r, z, n
@group(0) @binding(6) var<storage, read_write> gatedH: array<vec4f>; // [T, B, H]: r ⊙ h

@compute @workgroup_size(WORKGROUP)
fn forwardGates(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let n = units();
  let unit = workgroup.x * WORKGROUP + local;
  let b = workgroup.y * ROWS;
  let sumR = gateSum(params.t, 0u, b, unit, 0u, 1u);
  let sumZ = gateSum(params.t, 1u, b, unit, 0u, 1u);
  for (var i = 0u; i < ROWS && b + i < params.B && unit < n; i++) {
    let cell = params.t * params.B + b + i;
    let x = 3u * projectionRow(cell) * n + unit;
    let r = unitSigmoid(sumR[i] + gateBias(0u, unit) + xProjection[x], unit);
    gates[3u * cell * n + unit] = Saved4(r);
    gates[(3u * cell + 1u) * n + unit] = Saved4(unitSigmoid(sumZ[i] + gateBias(1u, unit) + xProjection[x + n], unit));
    gatedH[cell * n + unit] = r * h[cell * n + unit];
  }
}

@group(0) @binding(6) var<storage, read_write> hidden: array<vec4f>; // [T + 1, B, H]

@compute @workgroup_size(WORKGROUP)
fn forwardCandidate(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let units = units();
  let unit = workgroup.x * WORKGROUP + local;
  let b = workgroup.y * ROWS;
  let sum = gateSum(params.t, 2u, b, unit, 0u, 1u);
  for (var i = 0u; i < ROWS && b + i < params.B && unit < units; i++) {
    let cell = params.t * params.B + b + i;
    let x = xProjection[(3u * projectionRow(cell) + 2u) * units + unit];
    let n = unitTanh(sum[i] + gateBias(2u, unit) + x, unit);
    let z = vec4f(gates[(3u * cell + 1u) * units + unit]);
    gates[(3u * cell + 2u) * units + unit] = Saved4(n);
    hidden[(cell + params.B) * units + unit] = (1.0 - z) * n + z * hidden[cell * units + unit];
  }
}

// ---- backward: first the candidate and z, then r through the candidate's product
@group(0) @binding(1) var<storage, read> dOutput: array<vec4f>; // [T, B, H]
@group(0) @binding(2) var<storage, read> savedGates: array<Saved4>; // [T, B, 3, H]
@group(0) @binding(3) var<storage, read> savedH: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(4) var<storage, read> weight: array<Weight4>; // W_hh [3, H, H]
@group(0) @binding(5) var<storage, read_write> dGates: array<vec4f>; // [T, B, 3, H]
@group(0) @binding(6) var<storage, read_write> dH: array<vec4f>; // [B, H]: past the gates, from step t + 1, then for t - 1

@compute @workgroup_size(WORKGROUP)
fn backwardCandidate(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let units = units();
  let unit = workgroup.x * WORKGROUP + local;
  let b = workgroup.y * ROWS;
  var sums = Rows();
  if (params.last == 0u) {
    sums = gradientSum(params.t + 1u, 0u, 2u, b, unit, 0u, 1u);
  }
  for (var i = 0u; i < ROWS && b + i < params.B && unit < units; i++) {
    let cell = params.t * params.B + b + i;
    let state = cell * units + unit;
    let z = vec4f(savedGates[(3u * cell + 1u) * units + unit]);
    let n = vec4f(savedGates[(3u * cell + 2u) * units + unit]);
    let dh = ofUnits(dOutput[state] + dH[(b + i) * units + unit] + sums[i], unit);
    dGates[(3u * cell + 1u) * units + unit] = dh * (savedH[state] - n) * z * (1.0 - z);
    dGates[(3u * cell + 2u) * units + unit] = dh * (1.0 - z) * (1.0 - n * n);
    dH[(b + i) * units + unit] = dh * z;
  }
}

@compute @workgroup_size(WORKGROUP)
fn backwardReset(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let n = units();
  let unit = workgroup.x * WORKGROUP + local;
  let b = workgroup.y * ROWS;
  let sums = gradientSum(params.t, 2u, 1u, b, unit, 0u, 1u);
  for (var i = 0u; i < ROWS && b + i < params.B && unit < n; i++) {
    let cell = params.t * params.B + b + i;
    let r = vec4f(savedGates[3u * cell * n + unit]);
    let dReset = ofUnits(sums[i], unit);
    dGates[3u * cell * n + unit] = dReset * savedH[cell * n + unit] * r * (1.0 - r);
    dH[(b + i) * n + unit] += dReset * r;
  }
}
