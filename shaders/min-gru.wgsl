// minGRU, with scan.wgsl: h′ = (1 − z) ⊙ h + z ⊙ g(u). Gates in the order g, z.

const GATES: u32 = 2u;

fn activate(sums: Gates, unit: u32) -> Gates {
  return Gates(ofUnits(candidate(sums[0]), unit), ofUnits(sigmoid(sums[1]), unit));
}

fn stepOf(kept: Gates) -> Step {
  return Step(1.0 - kept[1], kept[1] * kept[0]);
}

fn gradientsOf(kept: Gates, before: vec4f, d: vec4f) -> Gates {
  let g = kept[0];
  let z = kept[1];
  return Gates(d * z * slopeOfCandidate(g), d * (g - before) * z * (1.0 - z));
}
