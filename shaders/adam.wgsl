// Adam and AdamW, as torch.optim.Adam and torch.optim.AdamW.

struct Params {
  count: u32, // of vec4s
  decayed: u32, // of these, from the first on
  decoupled: u32, // weight decay: AdamW's; else Adam's
  oneMinusBeta1: f32,
  oneMinusBeta2: f32,
  epsilon: f32,
  weightDecay: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> parameters: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> m: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> v: array<vec4f>;
@group(0) @binding(5) var<storage, read> schedule: array<f32>; // [4]: learningRate, the bias corrections of m and v
@group(0) @binding(6) var<storage, read> metrics: array<f32>; // [8]: at 3 the factor of the gradients, at 4 whether to skip

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
  let learningRate = schedule[0];
  let decay = select(0.0, params.weightDecay, i < params.decayed);
  var p = parameters[i];
  var g = gradients[i] * metrics[3];
  if (params.decoupled != 0u) {
    p *= 1.0 - learningRate * decay;
  } else {
    g += decay * p;
  }
  g = squarable(g);
  let first = (1.0 - params.oneMinusBeta1) * m[i] + params.oneMinusBeta1 * g;
  let second = (1.0 - params.oneMinusBeta2) * v[i] + params.oneMinusBeta2 * g * g;
  m[i] = first;
  v[i] = second;
  parameters[i] = p - learningRate / schedule[1] * first / (sqrt(second) / sqrt(schedule[2]) + params.epsilon);
}
