// Dropout with a mask that is drawn again where it is needed, one random word an element.

struct Params {
  N: u32, W: u32,
  offset: u32, // of x, or dX, in elements
  layer: u32,
  p: f32,
}
@group(0) @binding(0) var<uniform> params: Params;

const STREAM_DROPOUT: u32 = 2u;

fn drop(x: vec4f, index: u32, seed: u32, counter: u32) -> vec4f {
  let words = pcg4d(vec4u(seed, counter, index, (params.layer << 8u) | STREAM_DROPOUT));
  let draw = vec4f(fraction(words.x), fraction(words.y), fraction(words.z), fraction(words.w));
  return select(vec4f(), x / (1.0 - params.p), draw >= vec4f(params.p));
}

// ---- forward
@group(0) @binding(1) var<storage, read> x: array<vec4f>; // [N, W] from the offset
@group(0) @binding(2) var<storage, read> rng: array<u32>; // [4]: seed, counter
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>; // [N, W]

@compute @workgroup_size(64)
fn forward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let at = linearWorkgroup(workgroup, count) * 64u + local;
  if (at < params.N * params.W / 4u) {
    y[at] = drop(x[params.offset / 4u + at], at, rng[0], rng[1]);
  }
}

// ---- backward, in place
@group(0) @binding(1) var<storage, read_write> dX: array<vec4f>; // [N, W] from the offset
// rng at binding 2

@compute @workgroup_size(64)
fn backward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let at = linearWorkgroup(workgroup, count) * 64u + local;
  if (at < params.N * params.W / 4u) {
    let own = params.offset / 4u + at;
    dX[own] = drop(dX[own], at, rng[0], rng[1]);
  }
}
