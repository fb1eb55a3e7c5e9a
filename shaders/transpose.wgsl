// The transpose of a matrix, with a bias added or appended. An invocation moves a block of 4 × 4.

struct Params {
  rows: u32, columns: u32, // of the matrix
  stride: u32, // elements from one of its rows to the next, a multiple of four
  mode: u32, // 0 plain, 1 bias added to every row of out, 2 bias appended as a row
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> matrix: array<vec4f>; // [rows, columns]
@group(0) @binding(2) var<storage, read> bias: array<vec4f>; // [rows]
@group(0) @binding(3) var<storage, read_write> out: array<Out4>; // [columns, rows]; appended [pad4(columns) + 1, rows]

alias Out4 = vec4f;
const ADD: u32 = 1u;
const APPEND: u32 = 2u;

fn load(row: u32, column4: u32) -> vec4f {
  if (row >= params.rows) {
    return vec4f();
  }
  return matrix[row * (params.stride / 4u) + column4];
}

fn store(column: u32, row4: u32, value: vec4f) {
  let at = column * ((params.rows + 3u) / 4u) + row4;
  if (column < params.columns) {
    out[at] = Out4(value);
  } else if (params.mode == APPEND) {
    out[at] = Out4();
  }
}

@compute @workgroup_size(8, 8)
fn forward(@builtin(global_invocation_id) id: vec3u) {
  let row = 4u * id.x;
  let column = 4u * id.y;
  if (row >= params.rows || column >= params.columns) {
    return;
  }
  var added = vec4f();
  if (params.mode == ADD) {
    added = bias[id.x];
  }
  let block = transpose(mat4x4f(load(row, id.y), load(row + 1u, id.y), load(row + 2u, id.y), load(row + 3u, id.y)));
  store(column, id.x, block[0] + added);
  store(column + 1u, id.x, block[1] + added);
  store(column + 2u, id.x, block[2] + added);
  store(column + 3u, id.x, block[3] + added);
  if (params.mode == APPEND && id.y == 0u) {
    let width = (params.rows + 3u) / 4u;
    let last = (params.columns + 3u) / 4u * 4u;
    out[last * width + id.x] = Out4(bias[id.x]);
  }
}
