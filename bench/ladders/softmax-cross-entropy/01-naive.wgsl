// Rung 1: one invocation a row, scalar loads, the exponentials computed twice.
struct Params { N: u32, V: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>; // [N, V], then its gradient
@group(0) @binding(2) var<storage, read> targets: array<u32>; // [N]
@group(0) @binding(3) var<storage, read_write> rows: array<f32>; // [N, 2]

@compute @workgroup_size(64)
fn naiveRow(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = linearWorkgroup(workgroup, count) * 64u + local;
  if (row >= params.N) {
    return;
  }
  let width = (params.V + 3u) / 4u * 4u;
  let at = row * width;
  let wanted = targets[row];
  rows[2u * row] = 0.0;
  rows[2u * row + 1u] = 0.0;
  if (wanted == 0xffffffffu) {
    for (var v = 0u; v < params.V; v++) {
      logits[at + v] = 0.0;
    }
    return;
  }
  var best = 0u;
  for (var v = 1u; v < params.V; v++) {
    if (logits[at + v] > logits[at + best]) {
      best = v;
    }
  }
  let largest = logits[at + best];
  var sum = 0.0;
  for (var v = 0u; v < params.V; v++) {
    sum += exp(logits[at + v] - largest);
  }
  rows[2u * row] = log(sum) + (largest - logits[at + wanted]);
  rows[2u * row + 1u] = select(0.0, 1.0, best == wanted);
  for (var v = 0u; v < params.V; v++) {
    logits[at + v] = (exp(logits[at + v] - largest) / sum - select(0.0, 1.0, v == wanted)) * params.scale;
  }
}
