// The next token of each row, one row an invocation. What topK and topP keep is the tokens down to some logit, found
// bit by bit in passes over the row: 32 each, whatever K is, and no memory for sorting.

struct Params { B: u32, V: u32, t: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4f>; // [B, V]
@group(0) @binding(2) var<storage, read> settings: array<u32>; // [8]: seed, position, topK, temperature, topP
@group(0) @binding(3) var<storage, read> forced: array<u32>; // [T, B]
@group(0) @binding(4) var<storage, read_write> tokens: array<u32>; // [T + 1, B]

const CHOOSE: u32 = 0xffffffffu;
const STREAM_SAMPLE: u32 = 3u;
const LOWEST: u32 = 0x007fffffu; // the key of −Infinity

// Tokens whose key is above `key`, and those with that key up to index `last`.
struct Kept {
  key: u32,
  last: u32,
}

struct Row {
  start: u32,
  largest: f32,
  temperature: f32,
}

// An integer that orders as the float does; zeros are equal.
fn keyOf(x: f32) -> u32 {
  let bits = bitcast<u32>(select(x, 0.0, x == 0.0));
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

fn logitAt(row: Row, v: u32) -> f32 {
  return logits[row.start + v / 4u][v % 4u];
}

fn isKept(kept: Kept, key: u32, v: u32) -> bool {
  return key > kept.key || (key == kept.key && v <= kept.last);
}

// What a token counts for: one if `plain`, else its share of the probability.
fn weightOf(row: Row, x: f32, plain: bool) -> f32 {
  if (plain) {
    return 1.0;
  }
  return expNegative(vec4f((x - row.largest) / row.temperature)).x;
}

// The weight of those kept tokens whose key is at least `key`.
fn measure(row: Row, kept: Kept, key: u32, plain: bool) -> f32 {
  var sum = 0.0;
  for (var v = 0u; v < params.V; v++) {
    let x = logitAt(row, v);
    let own = keyOf(x);
    if (own >= key && isKept(kept, own, v)) {
      sum += weightOf(row, x, plain);
    }
  }
  return sum;
}

// The fewest of the kept tokens, the most likely first, that weigh at least `goal`.
fn narrow(row: Row, kept: Kept, goal: f32, plain: bool) -> Kept {
  var key = 0u;
  for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
    if (measure(row, kept, key | bit, plain) >= goal) {
      key |= bit;
    }
  }
  var sum = 0.0;
  if (key < 0xffffffffu) {
    sum = measure(row, kept, key + 1u, plain);
  }
  var last = 0u;
  for (var v = 0u; v < params.V && sum < goal; v++) {
    let x = logitAt(row, v);
    if (keyOf(x) == key && isKept(kept, key, v)) {
      sum += weightOf(row, x, plain);
      last = v;
    }
  }
  return Kept(key, last);
}

// CHOOSE where a logit is NaN or +Infinity, or none is above −Infinity.
fn choose(b: u32) -> u32 {
  var row = Row(b * ((params.V + 3u) / 4u), 0.0, bitcast<f32>(settings[3]));
  var largest = 0u;
  var best = 0u;
  for (var v = 0u; v < params.V; v++) {
    let x = logitAt(row, v);
    let key = keyOf(x);
    if (!isFinite(x) && key != LOWEST) {
      return CHOOSE;
    }
    if (key > largest) {
      largest = key;
      best = v;
    }
  }
  if (largest == LOWEST) {
    return CHOOSE;
  }
  row.largest = logitAt(row, best);
  if (row.temperature <= 0.0) {
    return best;
  }
  var kept = Kept(0u, params.V);
  let topK = settings[2];
  if (topK > 0u && topK < params.V) {
    kept = narrow(row, kept, f32(topK), true);
  }
  let topP = bitcast<f32>(settings[4]);
  if (topP < 1.0) {
    // The most likely token alone weighs 1, so that it is kept even if topP is 0.
    kept = narrow(row, kept, max(topP * measure(row, kept, 0u, false), 1e-6), false);
  }
  let words = pcg4d(vec4u(settings[0], settings[1] + params.t, b, STREAM_SAMPLE));
  let draw = fraction(words.x) * measure(row, kept, 0u, false);
  var passed = 0.0;
  for (var v = 0u; v < params.V; v++) {
    let x = logitAt(row, v);
    if (isKept(kept, keyOf(x), v)) {
      best = v;
      passed += weightOf(row, x, false);
      if (passed > draw) {
        break;
      }
    }
  }
  return best;
}

@compute @workgroup_size(8)
fn forward(@builtin(global_invocation_id) id: vec3u) {
  let b = id.x;
  if (b >= params.B) {
    return;
  }
  var token = forced[params.t * params.B + b];
  if (token == CHOOSE) {
    token = choose(b);
  }
  tokens[(params.t + 1u) * params.B + b] = token;
}
