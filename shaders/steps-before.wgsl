// The entry points of cells whose candidate, their last gate, multiplies a gated h, on top of recurrent.wgsl. Its product
// needs the gated h of all units, so that a step takes two dispatches in each direction. The first gate is the one on h.
// expects: GATES, and the epilogues activate, finishForward, finishBackward and finishGate of the cell's file.

alias Gates = array<vec4f, GATES>;
// The candidate, and the number of gates before it.
const LAST: u32 = GATES - 1u;

// The place of one gate of a cell (t, b) in a tensor [T, B, GATES, H].
fn gateAt(cell: u32, gate: u32, unit: u32) -> u32 {
  return (GATES * cell + gate) * units() + unit;
}

// What a gate adds up, of row `r`.
fn gateInput(sums: Rows, r: u32, cell: u32, gate: u32, unit: u32) -> vec4f {
  return sums[r] + gateBias(gate, unit) + xProjection[gateAt(projectionRow(cell), gate, unit)];
}

// ---- forward: first the gates, then the candidate and the new state
@group(0) @binding(1) var<storage, read> xProjection: array<vec4f>; // [R, GATES, H]: x·W_ihᵀ + b_ih
@group(0) @binding(2) var<storage, read> rows: array<u32>; // [T, B]
@group(0) @binding(3) var<storage, read> packed: array<Weight4>; // [H + 1, GATES, H]: W_hhᵀ, then b_hh
@group(0) @binding(4) var<storage, read_write> h: array<vec4f>; // what W_hh multiplies: h [T + 1, B, H], then gatedH
@group(0) @binding(5) var<storage, read_write> gates: array<Saved4>; // [T, B, GATES, H]
@group(0) @binding(6) var<storage, read_write> gatedH: array<vec4f>; // [T, B, H]

@compute @workgroup_size(WORKGROUP)
fn forwardGates(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let unit = workgroup.x * WORKGROUP + local;
  let b = workgroup.y * ROWS;
  var sums: array<Rows, LAST>;
  for (var gate = 0u; gate < LAST; gate++) {
    sums[gate] = gateSum(params.t, gate, b, unit, 0u, 1u);
  }
  for (var r = 0u; r < ROWS && b + r < params.B && unit < units(); r++) {
    let cell = params.t * params.B + b + r;
    var sum: Gates;
    for (var gate = 0u; gate < LAST; gate++) {
      sum[gate] = gateInput(sums[gate], r, cell, gate, unit);
    }
    let values = activate(sum, unit);
    for (var gate = 0u; gate < LAST; gate++) {
      gates[gateAt(cell, gate, unit)] = Saved4(values[gate]);
    }
    gatedH[cell * units() + unit] = values[0] * h[cell * units() + unit];
  }
}

@group(0) @binding(6) var<storage, read_write> hidden: array<vec4f>; // [T + 1, B, H]

@compute @workgroup_size(WORKGROUP)
fn forwardCandidate(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let unit = workgroup.x * WORKGROUP + local;
  let b = workgroup.y * ROWS;
  let sums = gateSum(params.t, LAST, b, unit, 0u, 1u);
  for (var r = 0u; r < ROWS && b + r < params.B && unit < units(); r++) {
    let cell = params.t * params.B + b + r;
    let n = unitTanh(gateInput(sums, r, cell, LAST, unit), unit);
    gates[gateAt(cell, LAST, unit)] = Saved4(n);
    let state = cell * units() + unit;
    hidden[state + params.B * units()] = finishForward(cell, unit, n, hidden[state]);
  }
}

// ---- backward: first the candidate and what is known of the others, then the gate on h through the candidate's product
@group(0) @binding(1) var<storage, read> dOutput: array<vec4f>; // [T, B, H]
@group(0) @binding(2) var<storage, read> savedGates: array<Saved4>; // [T, B, GATES, H]
@group(0) @binding(3) var<storage, read> savedH: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(4) var<storage, read> weight: array<Weight4>; // W_hh [GATES, H, H]
@group(0) @binding(5) var<storage, read_write> dGates: array<vec4f>; // [T, B, GATES, H]
@group(0) @binding(6) var<storage, read_write> dH: array<vec4f>; // [B, H]: past the gates, from step t + 1, then for t - 1

@compute @workgroup_size(WORKGROUP)
fn backwardCandidate(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let unit = workgroup.x * WORKGROUP + local;
  let b = workgroup.y * ROWS;
  var sums = Rows();
  if (params.last == 0u) {
    sums = gradientSum(params.t + 1u, 0u, LAST, b, unit, 0u, 1u);
  }
  for (var r = 0u; r < ROWS && b + r < params.B && unit < units(); r++) {
    let cell = params.t * params.B + b + r;
    let carried = (b + r) * units() + unit;
    let dh = ofUnits(dOutput[cell * units() + unit] + dH[carried] + sums[r], unit);
    dH[carried] = finishBackward(cell, unit, dh, savedH[cell * units() + unit]);
  }
}

@compute @workgroup_size(WORKGROUP)
fn backwardReset(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let unit = workgroup.x * WORKGROUP + local;
  let b = workgroup.y * ROWS;
  let sums = gradientSum(params.t, LAST, 1u, b, unit, 0u, 1u);
  for (var r = 0u; r < ROWS && b + r < params.B && unit < units(); r++) {
    let cell = params.t * params.B + b + r;
    let dGatedH = ofUnits(sums[r], unit);
    let gate = vec4f(savedGates[gateAt(cell, 0u, unit)]);
    let at = gateAt(cell, 0u, unit);
    dGates[at] = finishGate(dGates[at], gate, dGatedH * savedH[cell * units() + unit]);
    dH[(b + r) * units() + unit] += dGatedH * gate;
  }
}
