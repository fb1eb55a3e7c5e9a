// A gate over y: out = y ⊙ SiLU(z), SiLU(z) = z·σ(z) (Elfwing et al. 2018; the gated linear unit of Dauphin et al. 2017).

struct Params {
  N: u32, W: u32, // rows, and the stored length of one
  first: u32, // row of z, dZ, out and d
  yFirst: u32, // row of y
  zColumn: u32, zStride: u32, // where z lies in its rows, and their stored length
}
@group(0) @binding(0) var<uniform> params: Params;

struct Place {
  own: bool,
  y: u32,
  z: u32,
  out: u32,
}

// Of vec4 i of the rows, counted through.
fn placeOf(i: u32) -> Place {
  let w = params.W / 4u;
  let n = i / w;
  let column = i % w;
  let row = params.first + n;
  return Place(
    n < params.N,
    (params.yFirst + n) * w + column,
    (row * params.zStride + params.zColumn) / 4u + column,
    row * w + column,
  );
}

// ---- forward
@group(0) @binding(1) var<storage, read> y: array<vec4f>; // [R, W]
@group(0) @binding(2) var<storage, read> z: array<vec4f>; // [R, zStride]
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>; // [R, W]

@compute @workgroup_size(64)
fn forward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let at = placeOf(linearWorkgroup(workgroup, count) * 64u + local);
  if (at.own) {
    let value = z[at.z];
    out[at.out] = y[at.y] * value * sigmoid(value);
  }
}

// ---- backward
// y at binding 1, z at 2
@group(0) @binding(3) var<storage, read_write> d: array<vec4f>; // [R, W]: of out, then of y
@group(0) @binding(4) var<storage, read_write> dZ: array<vec4f>; // [R, zStride]

@compute @workgroup_size(64)
fn backward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let at = placeOf(linearWorkgroup(workgroup, count) * 64u + local);
  if (at.own) {
    let value = z[at.z];
    let s = sigmoid(value);
    let ofOut = d[at.out];
    dZ[at.z] = ofOut * y[at.y] * (s + value * s * (1.0 - s));
    d[at.out] = ofOut * (value * s);
  }
}
