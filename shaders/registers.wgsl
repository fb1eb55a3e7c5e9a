// Sums of matmul's register tiles: every invocation loads what it needs. A column past the last one gets the sums of
// the last.

// Four rows of A that is stored transposed, at k to k + 4, as the columns of the result.
fn aBlockTransposed(k: u32, at: u32) -> mat4x4f {
  let lda = params.lda / 4u;
  return transpose(mat4x4f(a[at + k * lda], a[at + (k + 1u) * lda], a[at + (k + 2u) * lda], a[at + (k + 3u) * lda]));
}

// Row k of four columns of B.
fn bRow(k: u32, column: u32) -> vec4f {
  if (TRANSPOSE_B != 0u) {
    return vec4f(bAt(k, 4u * column), bAt(k, 4u * column + 1u), bAt(k, 4u * column + 2u), bAt(k, 4u * column + 3u));
  }
  return b[(params.bOffset + k * params.ldb) / 4u + column];
}

// ROWS rows of the vec4f columns `column` and, if COLUMNS is 2, `column` + WORKGROUP, over one slice of K.
fn registerSums(slice: u32, row: u32, column: u32) -> Tile {
  let last = (params.N - 1u) / 4u;
  let own = min(column, last);
  let other = min(column + WORKGROUP, last);
  let a0 = aRow(row);
  let a1 = aRow(row + 1u);
  let a2 = aRow(row + 2u);
  let a3 = aRow(row + 3u);
  let a4 = aRow(row + 4u);
  let a5 = aRow(row + 5u);
  let a6 = aRow(row + 6u);
  let a7 = aRow(row + 7u);
  let low = (params.aOffset + row) / 4u;
  let high = params.aOffset / 4u + min(row / 4u + 1u, params.lda / 4u - 1u);
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  var t0 = vec4f();
  var t1 = vec4f();
  var t2 = vec4f();
  var t3 = vec4f();
  var t4 = vec4f();
  var t5 = vec4f();
  var t6 = vec4f();
  var t7 = vec4f();
  let begin = slice * params.kSlice;
  let end = min(begin + params.kSlice, params.K);
  // Stored transposed, A has no padding along K: the last rows go one by one.
  let blocks = select(end, end & ~3u, TRANSPOSE_A != 0u);
  for (var k = begin; k < blocks; k += 4u) {
    let block = bBlock(k, own);
    var second = mat4x4f();
    if (COLUMNS > 1u) {
      second = bBlock(k, other);
    }
    if (TRANSPOSE_A != 0u) {
      let x = aBlockTransposed(k, low);
      s0 += block * x[0];
      if (ROWS > 1u) {
        s1 += block * x[1];
        s2 += block * x[2];
        s3 += block * x[3];
      }
      if (COLUMNS > 1u) {
        t0 += second * x[0];
        if (ROWS > 1u) {
          t1 += second * x[1];
          t2 += second * x[2];
          t3 += second * x[3];
        }
      }
      if (ROWS > 4u) {
        let y = aBlockTransposed(k, high);
        s4 += block * y[0];
        s5 += block * y[1];
        s6 += block * y[2];
        s7 += block * y[3];
        if (COLUMNS > 1u) {
          t4 += second * y[0];
          t5 += second * y[1];
          t6 += second * y[2];
          t7 += second * y[3];
        }
      }
    } else {
      let at = k / 4u;
      s0 += block * a[a0 + at];
      if (ROWS > 1u) {
        s1 += block * a[a1 + at];
        s2 += block * a[a2 + at];
        s3 += block * a[a3 + at];
      }
      if (COLUMNS > 1u) {
        t0 += second * a[a0 + at];
        if (ROWS > 1u) {
          t1 += second * a[a1 + at];
          t2 += second * a[a2 + at];
          t3 += second * a[a3 + at];
        }
      }
      if (ROWS > 4u) {
        s4 += block * a[a4 + at];
        s5 += block * a[a5 + at];
        s6 += block * a[a6 + at];
        s7 += block * a[a7 + at];
        if (COLUMNS > 1u) {
          t4 += second * a[a4 + at];
          t5 += second * a[a5 + at];
          t6 += second * a[a6 + at];
          t7 += second * a[a7 + at];
        }
      }
    }
  }
  for (var k = blocks; k < end; k++) {
    let value = bRow(k, own);
    let second = bRow(k, other);
    let x = a[low + k * (params.lda / 4u)];
    let y = a[high + k * (params.lda / 4u)];
    s0 += x.x * value;
    s1 += x.y * value;
    s2 += x.z * value;
    s3 += x.w * value;
    s4 += y.x * value;
    s5 += y.y * value;
    s6 += y.z * value;
    s7 += y.w * value;
    t0 += x.x * second;
    t1 += x.y * second;
    t2 += x.z * second;
    t3 += x.w * second;
    t4 += y.x * second;
    t5 += y.y * second;
    t6 += y.z * second;
    t7 += y.w * second;
  }
  return Tile(s0, s1, s2, s3, s4, s5, s6, s7, t0, t1, t2, t3, t4, t5, t6, t7);
}
