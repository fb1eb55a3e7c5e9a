// Functions that every kernel may use; prepended to each shader.

// tanh may be NaN for large arguments on some drivers (gpuweb#4458); f32 tanh is exactly 1 past 9.02.
fn safeTanh(x: vec4f) -> vec4f {
  return tanh(clamp(x, vec4f(-10.0), vec4f(10.0)));
}

// exp overflows past 88.7; the sigmoid is 0 or 1 in f32 well before.
fn sigmoid(x: vec4f) -> vec4f {
  return 1.0 / (1.0 + exp(-clamp(x, vec4f(-60.0), vec4f(60.0))));
}

// WGSL lets compilers assume that NaN and infinity never occur, so `x != x` may be folded away: test the bits.
fn isFinite(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020; the same as src/random.ts.
fn pcg4d(counter: vec4u) -> vec4u {
  var v = counter * 1664525u + 1013904223u;
  v.x += v.y * v.w;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  v.w += v.y * v.z;
  v ^= v >> vec4u(16u);
  v.x += v.y * v.w;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  v.w += v.y * v.z;
  return v;
}

// A 24-bit fraction in [0, 1), exact in f32.
fn fraction(word: u32) -> f32 {
  return f32(word >> 8u) * 5.9604644775390625e-8;
}

// Workgroups are numbered over x and y, because one dimension holds at most 65,535.
fn linearWorkgroup(id: vec3u, count: vec3u) -> u32 {
  return id.x + id.y * count.x;
}
