// minLSTM, with scan.wgsl: h′ = f′ ⊙ h + (1 − f′) ⊙ g(u), f′ = σ(f) / (σ(f) + σ(i)). Kept are g, f′ and σ(i).

const GATES: u32 = 3u;

fn activate(sums: Gates, unit: u32) -> Gates {
  let f = sums[1];
  let i = sums[2];
  // σ(x) = e^min(x, 0) / (1 + e^−|x|). Of the two numerators the larger is taken out, so that nothing overflows and the
  // denominator is never zero.
  let ofF = expNegative(-abs(f));
  let ofI = expNegative(-abs(i));
  let difference = select(f, vec4f(), f > vec4f()) - select(i, vec4f(), i > vec4f());
  let less = expNegative(-abs(difference));
  let forget = select(less, vec4f(1.0), difference >= vec4f()) * (1.0 + ofI);
  let write = select(vec4f(1.0), less, difference > vec4f()) * (1.0 + ofF);
  let share = keepNaN(forget / (forget + write), difference);
  let input = keepNaN(select(vec4f(1.0), ofI, i < vec4f()) / (1.0 + ofI), i);
  return Gates(ofUnits(candidate(sums[0]), unit), ofUnits(share, unit), ofUnits(input, unit));
}

fn stepOf(kept: Gates) -> Step {
  return Step(kept[1], (1.0 - kept[1]) * kept[0]);
}

// ∂f′/∂f = f′(1 − f′)(1 − σ(f)), where (1 − f′) σ(f) = f′ σ(i); ∂f′/∂i = −f′(1 − f′)(1 − σ(i)).
fn gradientsOf(kept: Gates, before: vec4f, d: vec4f) -> Gates {
  let g = kept[0];
  let f = kept[1];
  let i = kept[2];
  let dF = d * (before - g) * f;
  return Gates(d * (1.0 - f) * slopeOfCandidate(g), dF * ((1.0 - f) - f * i), -dF * (1.0 - f) * (1.0 - i));
}
