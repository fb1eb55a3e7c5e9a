// What the lanes of the selective scan's workgroups have to do with one another: they read the same B and C, and their
// gradients of these are summed up. Here by workgroup memory.

struct FourInputs { B: vec4f, C: vec4f }
struct StepInputs { B: array<f32, KEPT>, C: array<f32, KEPT> }

// B and C of a step, which begins at `row` of xDbl, for the states from number n on; zero for those that only pad.
fn inputsOfFour(row: u32, n: u32, local: u32) -> FourInputs {
  let at = row + n;
  let vB = vec4f(xDbl[at], xDbl[at + 1u], xDbl[at + 2u], xDbl[at + 3u]);
  let c = at + params.N;
  let vC = vec4f(xDbl[c], xDbl[c + 1u], xDbl[c + 2u], xDbl[c + 3u]);
  let counts = FOUR + n < vec4u(params.N);
  return FourInputs(select(vec4f(), vB, counts), select(vec4f(), vC, counts));
}

// B and C of state n at each step from `first` on, those past the last one's as at that.
fn inputsOfSteps(first: u32, before: u32, b: u32, n: u32, local: u32) -> StepInputs {
  var io: StepInputs;
  for (var k = 0u; k < KEPT; k++) {
    let at = inputRow(min(first + k, before - 1u), b) + n;
    io.B[k] = xDbl[at];
    io.C[k] = xDbl[at + params.N];
  }
  return io;
}

// States that are gone through before their gradients are summed up.
const BATCH: u32 = 16u;
var<workgroup> addends: array<vec4f, 4u * BATCH * LANES>;

// What a lane adds to the gradients of B and of C of state n at eight steps.
fn addUp(workgroup: u32, first: u32, b: u32, n: u32, local: u32, b0: vec4f, b1: vec4f, c0: vec4f, c1: vec4f) {
  let place = 4u * (n % BATCH) * LANES + local;
  addends[place] = b0;
  addends[place + LANES] = b1;
  addends[place + 2u * LANES] = c0;
  addends[place + 3u * LANES] = c1;
}

fn endBatch(workgroup: u32, first: u32, b: u32, batch: u32, until: u32, local: u32) {
  workgroupBarrier();
  let items = 4u * (until - batch);
  for (var item = local; item < items * (LANES / GROUP); item += LANES) {
    let group = item / items;
    let entry = item % items;
    let part = workgroup * (LANES / GROUP) + group;
    if (part * GROUP < units()) {
      var sum = vec4f();
      for (var lane = 0u; lane < GROUP; lane++) {
        sum += addends[entry * LANES + group * GROUP + lane];
      }
      partials[partialRow(part, first, b) + 4u * batch + entry] = sum;
    }
  }
  workgroupBarrier();
}
