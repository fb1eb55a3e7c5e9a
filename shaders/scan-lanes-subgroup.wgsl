// What the lanes of the selective scan's workgroups have to do with one another, where a workgroup is a subgroup of eight:
// each reads one number of those that all need and hands it round, and sums go over the subgroup.

struct FourInputs { B: vec4f, C: vec4f }
struct StepInputs { B: array<f32, KEPT>, C: array<f32, KEPT> }

fn firstFour(v: f32) -> vec4f {
  return vec4f(subgroupBroadcast(v, 0u), subgroupBroadcast(v, 1u), subgroupBroadcast(v, 2u), subgroupBroadcast(v, 3u));
}

fn lastFour(v: f32) -> vec4f {
  return vec4f(subgroupBroadcast(v, 4u), subgroupBroadcast(v, 5u), subgroupBroadcast(v, 6u), subgroupBroadcast(v, 7u));
}

// B and C of a step, which begins at `row` of xDbl, for the states from number n on; zero for those that only pad.
fn inputsOfFour(row: u32, n: u32, local: u32) -> FourInputs {
  let state = n + local % 4u;
  let v = select(0.0, xDbl[row + state + select(0u, params.N, local > 3u)], state < params.N);
  return FourInputs(firstFour(v), lastFour(v));
}

// B and C of state n at each step from `first` on, those past the last one's as at that.
fn inputsOfSteps(first: u32, before: u32, b: u32, n: u32, local: u32) -> StepInputs {
  let at = inputRow(min(first + local, before - 1u), b) + n;
  let vB = xDbl[at];
  let vC = xDbl[at + params.N];
  let b0 = firstFour(vB);
  let b1 = lastFour(vB);
  let c0 = firstFour(vC);
  let c1 = lastFour(vC);
  return StepInputs(
    array<f32, KEPT>(b0.x, b0.y, b0.z, b0.w, b1.x, b1.y, b1.z, b1.w),
    array<f32, KEPT>(c0.x, c0.y, c0.z, c0.w, c1.x, c1.y, c1.z, c1.w),
  );
}

const BATCH: u32 = 256u;

// What a lane adds to the gradients of B and of C of state n at eight steps.
fn addUp(workgroup: u32, first: u32, b: u32, n: u32, local: u32, b0: vec4f, b1: vec4f, c0: vec4f, c1: vec4f) {
  let s0 = subgroupAdd(b0);
  let s1 = subgroupAdd(b1);
  let s2 = subgroupAdd(c0);
  let s3 = subgroupAdd(c1);
  if (local < 4u) {
    partials[partialRow(workgroup, first, b) + 4u * n + local] =
      select(select(s0, s1, local == 1u), select(s2, s3, local == 3u), local > 1u);
  }
}

fn endBatch(workgroup: u32, first: u32, b: u32, batch: u32, until: u32, local: u32) {
}
