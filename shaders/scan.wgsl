// The diagonal scan h′ = a ⊙ h + b over the steps of a sequence, and back. Each a and b is made of what the gates of its
// unit add up. A cell's file declares GATES and three functions:
//   activate(sums, unit) -> Gates: what is kept of a step, zero in the padding
//   stepOf(kept) -> Step: a and b
//   gradientsOf(kept, before, d) -> Gates: of what the gates add up, d being the gradient of the new h
// A lane is four units (one vec4f) of a row. Scans compose: of some steps that follow each other a is the product of
// theirs, and b where they come to from zero; so that forms of a scan may begin anywhere. Nothing waits for another
// workgroup, and sums have a fixed order.

struct Params {
  B: u32, H: u32,
  t: u32,     // the first step of the dispatch
  count: u32, // its steps: t, t + 1, … forward; t, t − 1, … backward
  chunk: u32, // steps of a chunk, in the forms that scan several at a time
}
@group(0) @binding(0) var<uniform> params: Params;

const WORKGROUP: u32 = 8u;
// Steps whose tensors are read before the first of them is done.
const AHEAD: u32 = 1u;

alias Gates = array<vec4f, GATES>;

struct Step {
  a: vec4f,
  b: vec4f,
}

fn then(first: Step, second: Step) -> Step {
  return Step(first.a * second.a, second.a * first.b + second.b);
}
fn after(state: vec4f, step: Step) -> vec4f {
  return step.a * state + step.b;
}

// Units, and with them the stored rows of every tensor, in vec4f.
fn units() -> u32 {
  return (params.H + 3u) / 4u;
}
fn lanes() -> u32 {
  return params.B * units();
}

// `x`, zero in the padding.
fn ofUnits(x: vec4f, unit: u32) -> vec4f {
  return select(vec4f(), x, vec4u(0u, 1u, 2u, 3u) + 4u * unit < vec4u(params.H));
}

// Where a lane stands in a tensor [T, B, G, H] at step t.
fn gatesAt(lane: u32, t: u32) -> u32 {
  let n = units();
  return GATES * (t * lanes() + lane / n * n) + lane % n;
}

// The derivative of min-gru's and min-lstm's g(u) = u + ½ for u ≥ 0, else σ(u), by its value.
fn slopeOfCandidate(g: vec4f) -> vec4f {
  return select(g * (1.0 - g), vec4f(1.0), g >= vec4f(0.5));
}
fn candidate(u: vec4f) -> vec4f {
  return select(sigmoid(u), u + 0.5, u >= vec4f());
}

// In two dispatches, for few lanes and many steps: what each chunk of steps is, behind what all begin from; then every
// chunk from where those before it end.
@group(0) @binding(1) var<storage, read_write> ends: array<vec4f>; // [1 + chunks, B, 2, H]: a and b

fn endAt(lane: u32, number: u32) -> u32 {
  let n = units();
  return 2u * (number * lanes() + lane / n * n) + lane % n;
}
fn writeEnd(lane: u32, number: u32, all: Step) {
  let at = endAt(lane, number);
  ends[at] = ofUnits(all.a, lane % units());
  ends[at + units()] = all.b;
}
fn startOf(lane: u32, chunk: u32) -> vec4f {
  var state = vec4f();
  for (var number = 0u; number <= chunk; number++) {
    let at = endAt(lane, number);
    state = after(state, Step(ends[at], ends[at + units()]));
  }
  return state;
}

// ---- forward
@group(0) @binding(2) var<storage, read_write> gates: array<vec4f>; // [T, B, G, H]: what they add up, then what is kept
@group(0) @binding(3) var<storage, read_write> h: array<vec4f>; // [T + 1, B, H]

fn readGates(lane: u32, t: u32) -> Gates {
  let at = gatesAt(lane, t);
  var found: Gates;
  for (var i = 0u; i < GATES; i++) {
    found[i] = gates[at + i * units()];
  }
  return found;
}

fn keep(lane: u32, t: u32, sums: Gates) -> Step {
  let at = gatesAt(lane, t);
  var kept = activate(sums, lane % units());
  for (var i = 0u; i < GATES; i++) {
    gates[at + i * units()] = kept[i];
  }
  return stepOf(kept);
}

// Steps `first` to `last` − 1, whose gates are kept already or not, from `start` on: h after each.
fn scanForward(lane: u32, first: u32, last: u32, start: vec4f, kept: bool) {
  var state = start;
  for (var t = first; t < last; t += AHEAD) {
    var read: array<Gates, AHEAD>;
    for (var i = 0u; i < AHEAD; i++) {
      read[i] = readGates(lane, min(t + i, last - 1u));
    }
    for (var i = 0u; i < AHEAD && t + i < last; i++) {
      var step: Step;
      if (kept) {
        step = stepOf(read[i]);
      } else {
        step = keep(lane, t + i, read[i]);
      }
      state = after(state, step);
      h[(t + i + 1u) * lanes() + lane] = state;
    }
  }
}

// Keeps the gates of some steps, and says what these are together.
fn composeForward(lane: u32, first: u32, last: u32) -> Step {
  var all = Step(vec4f(1.0), vec4f());
  for (var t = first; t < last; t++) {
    all = then(all, keep(lane, t, readGates(lane, t)));
  }
  return all;
}

// One after another: a lane through all steps.
@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = linearWorkgroup(id, count) * WORKGROUP + local;
  if (lane < lanes()) {
    scanForward(lane, params.t, params.t + params.count, h[params.t * lanes() + lane], false);
  }
}

// A workgroup of LANES × SLICES walks the sequence: each slice takes SPAN steps, says what they are together, and, once
// the others have too, begins where those before it end. The halves of `parts` take turns: one barrier for all slices.
const LANES: u32 = 16u;
const SLICES: u32 = 8u;
const SPAN: u32 = 8u;
var<workgroup> parts: array<Step, 2u * LANES * SLICES>;

// Takes the state over all slices. Returns it where the own one begins.
fn throughSlices(state: ptr<function, vec4f>, half: u32, local: vec3u) -> vec4f {
  var start = *state;
  for (var slice = 0u; slice < SLICES; slice++) {
    start = select(start, *state, slice == local.y);
    *state = after(*state, parts[half + slice * LANES + local.x]);
  }
  return start;
}

@compute @workgroup_size(LANES, SLICES)
fn forwardSlices(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = linearWorkgroup(id, count) * LANES + local.x;
  let own = lane < lanes();
  let end = params.t + params.count;
  var state = vec4f();
  if (own) {
    state = h[params.t * lanes() + lane];
  }
  var half = 0u;
  for (var t = params.t; t < end; t += SLICES * SPAN) {
    let first = min(t + local.y * SPAN, end);
    let last = min(first + SPAN, end);
    if (own) {
      parts[half + local.y * LANES + local.x] = composeForward(lane, first, last);
    }
    workgroupBarrier();
    if (own) {
      let start = throughSlices(&state, half, local);
      scanForward(lane, first, last, start, true);
    }
    half = LANES * SLICES - half;
  }
}

@compute @workgroup_size(WORKGROUP)
fn forwardEnds(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = id.x * WORKGROUP + local;
  let chunk = id.y;
  let first = params.t + chunk * params.chunk;
  let end = params.t + params.count;
  if (chunk == 0u && lane < lanes()) {
    writeEnd(lane, 0u, Step(vec4f(), h[params.t * lanes() + lane]));
  }
  if (first < end && lane < lanes()) {
    writeEnd(lane, 1u + chunk, composeForward(lane, first, min(first + params.chunk, end)));
  }
}

@compute @workgroup_size(WORKGROUP)
fn forwardChunks(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = id.x * WORKGROUP + local;
  let chunk = id.y;
  let first = params.t + chunk * params.chunk;
  let end = params.t + params.count;
  if (first < end && lane < lanes()) {
    scanForward(lane, first, min(first + params.chunk, end), startOf(lane, chunk), true);
  }
}

// ---- backward: the same scan from the last step on, of d = a ⊙ (∂h + d), the gradient of the state before a step
@group(0) @binding(2) var<storage, read> dOutput: array<vec4f>; // ∂h [T, B, H], but for what comes from later steps
@group(0) @binding(3) var<storage, read> savedGates: array<vec4f>; // [T, B, G, H]
@group(0) @binding(4) var<storage, read> savedH: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(5) var<storage, read_write> dProjection: array<vec4f>; // [T, B, G, H]
@group(0) @binding(6) var<storage, read_write> dH: array<vec4f>; // [B, H]: from step t + 1, then for step t − count

fn readSaved(lane: u32, t: u32) -> Gates {
  let at = gatesAt(lane, t);
  var found: Gates;
  for (var i = 0u; i < GATES; i++) {
    found[i] = savedGates[at + i * units()];
  }
  return found;
}

// Steps are counted here from the last one back: number `done` is step params.t − done.
fn stepNumber(done: u32) -> u32 {
  return params.t - done;
}

fn writeGradients(lane: u32, t: u32, kept: Gates, before: vec4f, d: vec4f) {
  let at = gatesAt(lane, t);
  var gradients = gradientsOf(kept, before, d);
  for (var i = 0u; i < GATES; i++) {
    dProjection[at + i * units()] = gradients[i];
  }
}

// Steps number `first` to `last` − 1 from `start` on. Returns d after the last one.
fn scanBackward(lane: u32, first: u32, last: u32, start: vec4f) -> vec4f {
  var d = start;
  for (var done = first; done < last; done += AHEAD) {
    var kept: array<Gates, AHEAD>;
    var before: array<vec4f, AHEAD>;
    var dh: array<vec4f, AHEAD>;
    for (var i = 0u; i < AHEAD; i++) {
      let t = stepNumber(min(done + i, last - 1u));
      kept[i] = readSaved(lane, t);
      before[i] = savedH[t * lanes() + lane];
      dh[i] = dOutput[t * lanes() + lane];
    }
    for (var i = 0u; i < AHEAD && done + i < last; i++) {
      let all = dh[i] + d;
      writeGradients(lane, stepNumber(done + i), kept[i], before[i], all);
      d = stepOf(kept[i]).a * all;
    }
  }
  return d;
}

fn composeBackward(lane: u32, first: u32, last: u32) -> Step {
  var all = Step(vec4f(1.0), vec4f());
  for (var done = first; done < last; done++) {
    let t = stepNumber(done);
    let a = stepOf(readSaved(lane, t)).a;
    all = then(all, Step(a, a * dOutput[t * lanes() + lane]));
  }
  return all;
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = linearWorkgroup(id, count) * WORKGROUP + local;
  if (lane < lanes()) {
    dH[lane] = scanBackward(lane, 0u, params.count, dH[lane]);
  }
}

@compute @workgroup_size(LANES, SLICES)
fn backwardSlices(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = linearWorkgroup(id, count) * LANES + local.x;
  let own = lane < lanes();
  var d = vec4f();
  if (own) {
    d = dH[lane];
  }
  var half = 0u;
  for (var done = 0u; done < params.count; done += SLICES * SPAN) {
    let first = min(done + local.y * SPAN, params.count);
    let last = min(first + SPAN, params.count);
    if (own) {
      parts[half + local.y * LANES + local.x] = composeBackward(lane, first, last);
    }
    workgroupBarrier();
    if (own) {
      let start = throughSlices(&d, half, local);
      scanBackward(lane, first, last, start);
    }
    half = LANES * SLICES - half;
  }
  // Every slice has read it: before the first barrier.
  if (own && local.y == 0u) {
    dH[lane] = d;
  }
}

@compute @workgroup_size(WORKGROUP)
fn backwardEnds(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = id.x * WORKGROUP + local;
  let chunk = id.y;
  let first = chunk * params.chunk;
  if (chunk == 0u && lane < lanes()) {
    writeEnd(lane, 0u, Step(vec4f(), dH[lane]));
  }
  if (first < params.count && lane < lanes()) {
    writeEnd(lane, 1u + chunk, composeBackward(lane, first, min(first + params.chunk, params.count)));
  }
}

@compute @workgroup_size(WORKGROUP)
fn backwardChunks(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = id.x * WORKGROUP + local;
  let chunk = id.y;
  let first = chunk * params.chunk;
  let last = min(first + params.chunk, params.count);
  if (first < last && lane < lanes()) {
    let d = scanBackward(lane, first, last, startOf(lane, chunk));
    if (last == params.count) {
      dH[lane] = d;
    }
  }
}
