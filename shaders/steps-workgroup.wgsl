// Steps of rnn, gru and lstm whose invocations share sums or operands through workgroup memory.

// ---- One step of few rows: SLICES invocations share the sum over k of a row's four units, so that a GPU has work
// even for one row. The slices are added in a fixed order.
const SLICES: u32 = 8u;
var<workgroup> slices: array<Gates, 64>; // [SLICES][8 units]

@compute @workgroup_size(8, SLICES)
fn forwardSplit(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let unit = workgroup.x * 8u + local.x;
  let b = workgroup.y;
  var sum: Gates;
  for (var gate = 0u; gate < GATES; gate++) {
    sum[gate] = gateSum(params.t, gate, b, unit, local.y, SLICES)[0];
  }
  slices[local.y * 8u + local.x] = sum;
  workgroupBarrier();
  if (local.y > 0u || unit >= units()) {
    return;
  }
  for (var gate = 0u; gate < GATES; gate++) {
    sum[gate] += gateBias(gate, unit);
    for (var slice = 1u; slice < SLICES; slice++) {
      sum[gate] += slices[slice * 8u + local.x][gate];
    }
  }
  finishForward(params.t, b, unit, sum);
}

@compute @workgroup_size(8, SLICES)
fn backwardSplit(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let unit = workgroup.x * 8u + local.x;
  let b = workgroup.y;
  var sum = vec4f();
  if (params.last == 0u) {
    sum = gradientSum(params.t + 1u, 0u, GATES, b, unit, local.y, SLICES)[0];
  }
  slices[local.y * 8u + local.x][0] = sum;
  workgroupBarrier();
  if (local.y > 0u || unit >= units()) {
    return;
  }
  for (var slice = 1u; slice < SLICES; slice++) {
    sum += slices[slice * 8u + local.x][0];
  }
  finishBackward(params.t, b, unit, sum);
}

// ---- One step by tiles: 32 rows × 32 units a workgroup, two rows and four units an invocation. h, or the gate
// gradients, go through workgroup memory in blocks of 8 vec4f; rows are one longer than they need be, against bank
// conflicts.
const TILE_ROWS: u32 = 32u;
const BLOCK: u32 = 8u;
var<workgroup> tile: array<vec4f, 288>; // [TILE_ROWS][BLOCK + 1]

@compute @workgroup_size(8, 16)
fn forwardTiled(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(local_invocation_index) index: u32) {
  let n = units();
  let stride = GATES * n;
  let unit = workgroup.x * 8u + local.x;
  let column = min(unit, n - 1u);
  let b = workgroup.y * TILE_ROWS;
  var s0: Gates;
  var s1: Gates;
  for (var k0 = 0u; k0 < n; k0 += BLOCK) {
    for (var i = index; i < TILE_ROWS * BLOCK; i += 128u) {
      let k = k0 + i % BLOCK;
      tile[i / BLOCK * (BLOCK + 1u) + i % BLOCK] = h[rowOf(params.t, b + i / BLOCK, 1u) + min(k, n - 1u)];
    }
    workgroupBarrier();
    for (var k = k0; k < min(k0 + BLOCK, n); k++) {
      let x0 = tile[2u * local.y * (BLOCK + 1u) + k - k0];
      let x1 = tile[(2u * local.y + 1u) * (BLOCK + 1u) + k - k0];
      for (var gate = 0u; gate < GATES; gate++) {
        let at = 4u * k * stride + gate * n + column;
        let block = packedBlock(at, stride);
        s0[gate] += block * x0;
        s1[gate] += block * x1;
      }
    }
    workgroupBarrier();
  }
  if (unit >= n) {
    return;
  }
  for (var gate = 0u; gate < GATES; gate++) {
    s0[gate] += gateBias(gate, unit);
    s1[gate] += gateBias(gate, unit);
  }
  let row = b + 2u * local.y;
  if (row < params.B) {
    finishForward(params.t, row, unit, s0);
  }
  if (row + 1u < params.B) {
    finishForward(params.t, row + 1u, unit, s1);
  }
}

@compute @workgroup_size(8, 16)
fn backwardTiled(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(local_invocation_index) index: u32) {
  let n = units();
  let unit = workgroup.x * 8u + local.x;
  let column = min(unit, n - 1u);
  let b = workgroup.y * TILE_ROWS;
  let count = select(GATES * n, 0u, params.last != 0u);
  var s0 = vec4f();
  var s1 = vec4f();
  for (var j0 = 0u; j0 < count; j0 += BLOCK) {
    for (var i = index; i < TILE_ROWS * BLOCK; i += 128u) {
      let j = j0 + i % BLOCK;
      tile[i / BLOCK * (BLOCK + 1u) + i % BLOCK] = dGates[rowOf(params.t + 1u, b + i / BLOCK, GATES) + min(j, count - 1u)];
    }
    workgroupBarrier();
    for (var j = j0; j < min(j0 + BLOCK, count); j++) {
      let at = 4u * j * n + column;
      let block = weightBlock(at, n);
      s0 += block * tile[2u * local.y * (BLOCK + 1u) + j - j0];
      s1 += block * tile[(2u * local.y + 1u) * (BLOCK + 1u) + j - j0];
    }
    workgroupBarrier();
  }
  let row = b + 2u * local.y;
  if (unit < n && row < params.B) {
    finishBackward(params.t, row, unit, s0);
  }
  if (unit < n && row + 1u < params.B) {
    finishBackward(params.t, row + 1u, unit, s1);
  }
}
