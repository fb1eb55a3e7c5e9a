// SGD with momentum, as torch.optim.SGD.

struct Params {
  count: u32, // of vec4s
  decayed: u32, // of these, from the first on
  momentum: f32,
  weightDecay: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> parameters: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> m: array<vec4f>;
@group(0) @binding(4) var<storage, read> schedule: array<f32>; // [4]: learningRate
@group(0) @binding(5) var<storage, read> metrics: array<f32>; // [8]: at 3 the factor of the gradients, at 4 whether to skip

@compute @workgroup_size(64)
fn update(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = linearWorkgroup(workgroup, count) * 64u + local;
  // After a gradient that is not finite, the parameters must survive.
  if (i >= params.count || metrics[4] > 0.0) {
    return;
  }
  let p = parameters[i];
  let decay = select(0.0, params.weightDecay, i < params.decayed);
  let next = params.momentum * m[i] + (gradients[i] * metrics[3] + decay * p);
  m[i] = next;
  parameters[i] = p - schedule[0] * next;
}
