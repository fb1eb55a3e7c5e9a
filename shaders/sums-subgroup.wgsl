// The products with the recurrent weights, of 8 or 16 rows: the lanes of a subgroup need the same rows, so each lane
// loads other ones and hands them round. Lanes are numbered as the units are: WORKGROUP is a multiple of SUBGROUP. All
// invocations must come here; a unit past the last one gets the sums of the last.

const SUBGROUP: u32 = 8u; // 4 or 8
alias Rows = array<vec4f, 16>;

// h[t]·W_hhᵀ for one gate of four units, batch rows b to b + ROWS, over every `every`th four units of h from `lane`.
fn gateSum(t: u32, gate: u32, b: u32, unit: u32, lane: u32, every: u32) -> Rows {
  let n = units();
  let stride = GATES * n;
  let column = min(unit, n - 1u);
  let own = b + unit % SUBGROUP;
  let row0 = rowOf(t, own, 1u);
  let row1 = rowOf(t, own + SUBGROUP, 1u);
  let row2 = rowOf(t, own + 2u * SUBGROUP, 1u);
  let row3 = rowOf(t, own + 3u * SUBGROUP, 1u);
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  var s8 = vec4f();
  var s9 = vec4f();
  var s10 = vec4f();
  var s11 = vec4f();
  var s12 = vec4f();
  var s13 = vec4f();
  var s14 = vec4f();
  var s15 = vec4f();
  for (var k = lane; k < n; k += every) {
    let at = 4u * k * stride + gate * n + column;
    let block = packedBlock(at, stride);
    var mine: array<vec4f, 4>;
    mine[0] = h[row0 + k];
    if (ROWS > SUBGROUP) {
      mine[1] = h[row1 + k];
    }
    if (ROWS > 2u * SUBGROUP) {
      mine[2] = h[row2 + k];
      mine[3] = h[row3 + k];
    }
    s0 += block * subgroupBroadcast(mine[0u / SUBGROUP], 0u % SUBGROUP);
    s1 += block * subgroupBroadcast(mine[1u / SUBGROUP], 1u % SUBGROUP);
    s2 += block * subgroupBroadcast(mine[2u / SUBGROUP], 2u % SUBGROUP);
    s3 += block * subgroupBroadcast(mine[3u / SUBGROUP], 3u % SUBGROUP);
    s4 += block * subgroupBroadcast(mine[4u / SUBGROUP], 4u % SUBGROUP);
    s5 += block * subgroupBroadcast(mine[5u / SUBGROUP], 5u % SUBGROUP);
    s6 += block * subgroupBroadcast(mine[6u / SUBGROUP], 6u % SUBGROUP);
    s7 += block * subgroupBroadcast(mine[7u / SUBGROUP], 7u % SUBGROUP);
    if (ROWS > 8u) {
      s8 += block * subgroupBroadcast(mine[8u / SUBGROUP], 8u % SUBGROUP);
      s9 += block * subgroupBroadcast(mine[9u / SUBGROUP], 9u % SUBGROUP);
      s10 += block * subgroupBroadcast(mine[10u / SUBGROUP], 10u % SUBGROUP);
      s11 += block * subgroupBroadcast(mine[11u / SUBGROUP], 11u % SUBGROUP);
      s12 += block * subgroupBroadcast(mine[12u / SUBGROUP], 12u % SUBGROUP);
      s13 += block * subgroupBroadcast(mine[13u / SUBGROUP], 13u % SUBGROUP);
      s14 += block * subgroupBroadcast(mine[14u / SUBGROUP], 14u % SUBGROUP);
      s15 += block * subgroupBroadcast(mine[15u / SUBGROUP], 15u % SUBGROUP);
    }
  }
  return Rows(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15);
}

// dGates[step]·W_hh for four units, over `count` gates from `first`, batch rows b to b + ROWS; of four rows of W_hh
// every `every`th from `lane`.
fn gradientSum(step: u32, first: u32, count: u32, b: u32, unit: u32, lane: u32, every: u32) -> Rows {
  let n = units();
  let column = min(unit, n - 1u);
  let own = b + unit % SUBGROUP;
  let row0 = rowOf(step, own, GATES);
  let row1 = rowOf(step, own + SUBGROUP, GATES);
  let row2 = rowOf(step, own + 2u * SUBGROUP, GATES);
  let row3 = rowOf(step, own + 3u * SUBGROUP, GATES);
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  var s8 = vec4f();
  var s9 = vec4f();
  var s10 = vec4f();
  var s11 = vec4f();
  var s12 = vec4f();
  var s13 = vec4f();
  var s14 = vec4f();
  var s15 = vec4f();
  for (var j = first * n + lane; j < (first + count) * n; j += every) {
    let at = 4u * j * n + column;
    let block = weightBlock(at, n);
    var mine: array<vec4f, 4>;
    mine[0] = dGates[row0 + j];
    if (ROWS > SUBGROUP) {
      mine[1] = dGates[row1 + j];
    }
    if (ROWS > 2u * SUBGROUP) {
      mine[2] = dGates[row2 + j];
      mine[3] = dGates[row3 + j];
    }
    s0 += block * subgroupBroadcast(mine[0u / SUBGROUP], 0u % SUBGROUP);
    s1 += block * subgroupBroadcast(mine[1u / SUBGROUP], 1u % SUBGROUP);
    s2 += block * subgroupBroadcast(mine[2u / SUBGROUP], 2u % SUBGROUP);
    s3 += block * subgroupBroadcast(mine[3u / SUBGROUP], 3u % SUBGROUP);
    s4 += block * subgroupBroadcast(mine[4u / SUBGROUP], 4u % SUBGROUP);
    s5 += block * subgroupBroadcast(mine[5u / SUBGROUP], 5u % SUBGROUP);
    s6 += block * subgroupBroadcast(mine[6u / SUBGROUP], 6u % SUBGROUP);
    s7 += block * subgroupBroadcast(mine[7u / SUBGROUP], 7u % SUBGROUP);
    if (ROWS > 8u) {
      s8 += block * subgroupBroadcast(mine[8u / SUBGROUP], 8u % SUBGROUP);
      s9 += block * subgroupBroadcast(mine[9u / SUBGROUP], 9u % SUBGROUP);
      s10 += block * subgroupBroadcast(mine[10u / SUBGROUP], 10u % SUBGROUP);
      s11 += block * subgroupBroadcast(mine[11u / SUBGROUP], 11u % SUBGROUP);
      s12 += block * subgroupBroadcast(mine[12u / SUBGROUP], 12u % SUBGROUP);
      s13 += block * subgroupBroadcast(mine[13u / SUBGROUP], 13u % SUBGROUP);
      s14 += block * subgroupBroadcast(mine[14u / SUBGROUP], 14u % SUBGROUP);
      s15 += block * subgroupBroadcast(mine[15u / SUBGROUP], 15u % SUBGROUP);
    }
  }
  return Rows(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15);
}
