// Rung 1: one invocation a parameter.
struct Params { count: u32, decayed: u32, decoupled: u32, oneMinusBeta1: f32, oneMinusBeta2: f32, epsilon: f32, weightDecay: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> parameters: array<f32>;
@group(0) @binding(2) var<storage, read> gradients: array<f32>;
@group(0) @binding(3) var<storage, read_write> m: array<f32>;
@group(0) @binding(4) var<storage, read_write> v: array<f32>;
@group(0) @binding(5) var<storage, read> schedule: array<f32>;
@group(0) @binding(6) var<storage, read> metrics: array<f32>;

@compute @workgroup_size(64)
fn scalars(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = linearWorkgroup(workgroup, count) * 64u + local;
  if (i >= 4u * params.count || metrics[4] > 0.0) {
    return;
  }
  let rate = schedule[0];
  let decay = select(0.0, params.weightDecay, i < 4u * params.decayed);
  var p = parameters[i];
  var g = gradients[i] * metrics[3];
  if (params.decoupled != 0u) {
    p *= 1.0 - rate * decay;
  } else {
    g += decay * p;
  }
  g = clamp(g, -0x1p+62f, 0x1p+62f);
  m[i] += params.oneMinusBeta1 * (g - m[i]);
  v[i] += params.oneMinusBeta2 * (g * g - v[i]);
  parameters[i] = p - rate / schedule[1] * m[i] / (sqrt(v[i]) / sqrt(schedule[2]) + params.epsilon);
}
