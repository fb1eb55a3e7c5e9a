// The epilogues of the GRU, reset before the product, on top of recurrent.wgsl and steps-before.wgsl. Gates in the order
// r, z, n.

const GATES: u32 = 3u;

// The values of the gates but the candidate, from what they add up.
fn activate(sum: Gates, unit: u32) -> Gates {
  return Gates(unitSigmoid(sum[0], unit), unitSigmoid(sum[1], unit), vec4f());
}

// The new state.
fn finishForward(cell: u32, unit: u32, n: vec4f, before: vec4f) -> vec4f {
  let z = vec4f(gates[gateAt(cell, 1u, unit)]);
  return (1.0 - z) * n + z * before;
}

// What goes to the step before past the gates.
fn finishBackward(cell: u32, unit: u32, dh: vec4f, before: vec4f) -> vec4f {
  let z = vec4f(savedGates[gateAt(cell, 1u, unit)]);
  let n = vec4f(savedGates[gateAt(cell, 2u, unit)]);
  dGates[gateAt(cell, 1u, unit)] = dh * (before - n) * z * (1.0 - z);
  dGates[gateAt(cell, 2u, unit)] = dh * (1.0 - z) * (1.0 - n * n);
  return dh * z;
}

// The gradient of the first gate's sum, from that of the gate itself and what finishBackward left of it.
fn finishGate(left: vec4f, r: vec4f, dr: vec4f) -> vec4f {
  return dr * r * (1.0 - r);
}
