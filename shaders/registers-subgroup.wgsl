// Sums of matmul's register tiles, 8 or 16 rows × one vec4f: the lanes of a subgroup need the same rows of A, so each
// lane loads other ones and hands them round. Lanes are numbered as the columns are: WORKGROUP is a multiple of
// SUBGROUP. All invocations must come here; a column past the last one gets the sums of the last.

const SUBGROUP: u32 = 8u; // 4 or 8
// Vec4fs of a row of A, stored transposed, that the lanes hold together.
const GROUPS: u32 = SUBGROUP / 4u;

// Where a lane's `part`th load begins: at a row of A, or, where A is stored transposed, at four of its columns.
fn aStart(row: u32, part: u32, lane: u32) -> u32 {
  if (TRANSPOSE_A != 0u) {
    return params.aOffset / 4u + min(row / 4u + part * GROUPS + lane / 4u, params.lda / 4u - 1u);
  }
  return aRow(row + part * SUBGROUP + lane);
}

// A lane's load at k: four products of a row, or, where A is stored transposed, one product of four rows; its stored
// rows end with K.
fn aFour(at: u32, k: u32, end: u32, lane: u32) -> vec4f {
  if (TRANSPOSE_A != 0u) {
    let own = k + lane % 4u;
    return select(vec4f(), a[at + min(own, end - 1u) * (params.lda / 4u)], own < end);
  }
  return a[at + k / 4u];
}

fn registerSums(slice: u32, row: u32, column: u32) -> Tile {
  let own = min(column, (params.N - 1u) / 4u);
  let lane = column % SUBGROUP;
  let at0 = aStart(row, 0u, lane);
  let at1 = aStart(row, 1u, lane);
  let at2 = aStart(row, 2u, lane);
  let at3 = aStart(row, 3u, lane);
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
  let first = slice * params.kSlice;
  let end = min(first + params.kSlice, params.K);
  for (var k = first; k < end; k += 4u) {
    let block = bBlock(k, own);
    var mine: array<vec4f, 4>;
    mine[0] = aFour(at0, k, end, lane);
    if (ROWS > SUBGROUP) {
      mine[1] = aFour(at1, k, end, lane);
    }
    if (ROWS > 2u * SUBGROUP) {
      mine[2] = aFour(at2, k, end, lane);
      mine[3] = aFour(at3, k, end, lane);
    }
    if (TRANSPOSE_A != 0u) {
      let x0 = transpose(mat4x4f(subgroupBroadcast(mine[0u / GROUPS], 0u % SUBGROUP), subgroupBroadcast(mine[0u / GROUPS], 0u % SUBGROUP + 1u), subgroupBroadcast(mine[0u / GROUPS], 0u % SUBGROUP + 2u), subgroupBroadcast(mine[0u / GROUPS], 0u % SUBGROUP + 3u)));
      s0 += block * x0[0];
      s1 += block * x0[1];
      s2 += block * x0[2];
      s3 += block * x0[3];
      let x1 = transpose(mat4x4f(subgroupBroadcast(mine[1u / GROUPS], 4u % SUBGROUP), subgroupBroadcast(mine[1u / GROUPS], 4u % SUBGROUP + 1u), subgroupBroadcast(mine[1u / GROUPS], 4u % SUBGROUP + 2u), subgroupBroadcast(mine[1u / GROUPS], 4u % SUBGROUP + 3u)));
      s4 += block * x1[0];
      s5 += block * x1[1];
      s6 += block * x1[2];
      s7 += block * x1[3];
      if (ROWS > 8u) {
        let x2 = transpose(mat4x4f(subgroupBroadcast(mine[2u / GROUPS], 8u % SUBGROUP), subgroupBroadcast(mine[2u / GROUPS], 8u % SUBGROUP + 1u), subgroupBroadcast(mine[2u / GROUPS], 8u % SUBGROUP + 2u), subgroupBroadcast(mine[2u / GROUPS], 8u % SUBGROUP + 3u)));
        s8 += block * x2[0];
        s9 += block * x2[1];
        s10 += block * x2[2];
        s11 += block * x2[3];
        let x3 = transpose(mat4x4f(subgroupBroadcast(mine[3u / GROUPS], 12u % SUBGROUP), subgroupBroadcast(mine[3u / GROUPS], 12u % SUBGROUP + 1u), subgroupBroadcast(mine[3u / GROUPS], 12u % SUBGROUP + 2u), subgroupBroadcast(mine[3u / GROUPS], 12u % SUBGROUP + 3u)));
        s12 += block * x3[0];
        s13 += block * x3[1];
        s14 += block * x3[2];
        s15 += block * x3[3];
      }
    } else {
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
  }
  return Tile(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15);
}
