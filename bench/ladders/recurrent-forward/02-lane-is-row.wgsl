// Rung 2: lane = row. The lanes of a workgroup take neighbouring rows and share their eight units, so that the
// weights are the same for all lanes and h is each lane's own.
struct Params { B: u32, H: u32, t: u32, count: u32, gather: u32, last: u32, relu: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> xProjection: array<vec4f>; // [R, 4, H]
@group(0) @binding(2) var<storage, read> rows: array<u32>; // [T, B]
@group(0) @binding(3) var<storage, read> packed: array<vec4f>; // [H + 1, 4, H]
@group(0) @binding(4) var<storage, read_write> h: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(5) var<storage, read_write> c: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(6) var<storage, read_write> gates: array<vec4f>; // [T, B, 4, H]

fn inside(value: vec4f, unit: u32) -> vec4f {
  return select(vec4f(), value, vec4u(0u, 1u, 2u, 3u) + 4u * unit < vec4u(params.H));
}

fn finish(b: u32, unit: u32, sum: mat4x4f) {
  let n = (params.H + 3u) / 4u;
  if (unit >= n) {
    return;
  }
  let cell = params.t * params.B + b;
  var row = cell;
  if (params.gather != 0u) {
    row = rows[cell];
  }
  let x = 4u * row * n + unit;
  let i = inside(sigmoid(sum[0] + xProjection[x]), unit);
  let f = inside(sigmoid(sum[1] + xProjection[x + n]), unit);
  let g = safeTanh(sum[2] + xProjection[x + 2u * n]);
  let o = inside(sigmoid(sum[3] + xProjection[x + 3u * n]), unit);
  let state = f * c[cell * n + unit] + i * g;
  let next = (cell + params.B) * n + unit;
  c[next] = state;
  h[next] = o * safeTanh(state);
  let at = 4u * cell * n + unit;
  gates[at] = i;
  gates[at + n] = f;
  gates[at + 2u * n] = g;
  gates[at + 3u * n] = o;
}

@compute @workgroup_size(8)
fn forwardLaneRow(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let n = (params.H + 3u) / 4u;
  let first = 2u * workgroup.x;
  let second = min(first + 1u, n - 1u);
  let b = workgroup.y * 8u + local;
  let state = (params.t * params.B + min(b, params.B - 1u)) * n;
  var s: array<vec4f, 8>; // [4 gates][2 vec4f of units]
  for (var gate = 0u; gate < 4u; gate++) {
    s[2u * gate] = packed[(16u * n + gate) * n + first];
    s[2u * gate + 1u] = packed[(16u * n + gate) * n + second];
  }
  for (var k = 0u; k < n; k++) {
    let x = h[state + k];
    for (var j = 0u; j < 4u; j++) {
      let at = (4u * k + j) * 4u * n;
      for (var gate = 0u; gate < 4u; gate++) {
        s[2u * gate] += x[j] * packed[at + gate * n + first];
        s[2u * gate + 1u] += x[j] * packed[at + gate * n + second];
      }
    }
  }
  if (b < params.B) {
    finish(b, first, mat4x4f(s[0], s[2], s[4], s[6]));
    if (first + 1u < n) {
      finish(b, first + 1u, mat4x4f(s[1], s[3], s[5], s[7]));
    }
  }
}
