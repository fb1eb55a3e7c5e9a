// The entry points of rnn, gru and lstm, on top of recurrent.wgsl: one step a dispatch, or many. The cell's file has
// the epilogues finishForward and finishBackward. Forms that go through workgroup memory are in steps-workgroup.wgsl.

alias Gates = array<vec4f, GATES>;

// Step t forward for four units of ROWS batch rows; nothing where there is no such unit.
fn forwardRows(t: u32, b: u32, unit: u32) {
  var sums: array<Rows, GATES>;
  for (var gate = 0u; gate < GATES; gate++) {
    sums[gate] = gateSum(t, gate, b, unit, 0u, 1u);
  }
  for (var r = 0u; r < ROWS && b + r < params.B && unit < units(); r++) {
    var sum: Gates;
    for (var gate = 0u; gate < GATES; gate++) {
      sum[gate] = sums[gate][r] + gateBias(gate, unit);
    }
    finishForward(t, b + r, unit, sum);
  }
}

// Step t backward for four units of ROWS batch rows; nothing where there is no such unit.
fn backwardRows(t: u32, last: bool, b: u32, unit: u32) {
  var sums = Rows();
  if (!last) {
    sums = gradientSum(t + 1u, 0u, GATES, b, unit, 0u, 1u);
  }
  for (var r = 0u; r < ROWS && b + r < params.B && unit < units(); r++) {
    finishBackward(t, b + r, unit, sums[r]);
  }
}

// ---- One step a dispatch.
@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  forwardRows(params.t, workgroup.y * ROWS, workgroup.x * WORKGROUP + local);
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  backwardRows(params.t, params.last != 0u, workgroup.y * ROWS, workgroup.x * WORKGROUP + local);
}

// ---- A sequence of steps a dispatch ("persistent"). The rows of a batch are independent, so a workgroup takes
// ROWS of them through all steps; what its lanes hand on from step to step goes through storage. The recurrent weights
// are read again at every step, or, with a CACHE, from workgroup memory.
@compute @workgroup_size(WORKGROUP)
fn forwardSequence(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  if (CACHE > 1u) {
    for (var i = local; i < 4u * units() * GATES * units(); i += WORKGROUP) {
      cache[i] = vec4f(packed[i]);
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < params.count; i++) {
    for (var first = 0u; first < units(); first += WORKGROUP) {
      forwardRows(params.t + i, workgroup.x * ROWS, first + local);
    }
    storageBarrier();
  }
}

@compute @workgroup_size(WORKGROUP)
fn backwardSequence(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  if (CACHE > 1u) {
    for (var i = local; i < 4u * units() * GATES * units(); i += WORKGROUP) {
      cache[i] = vec4f(weight[i]);
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < params.count; i++) {
    for (var first = 0u; first < units(); first += WORKGROUP) {
      backwardRows(params.t - i, i == 0u && params.last != 0u, workgroup.x * ROWS, first + local);
    }
    storageBarrier();
  }
}
