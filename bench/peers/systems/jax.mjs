// jax-js: the same step written by hand, the T time steps unrolled (it has no scan), jitted with its gradient and Adam.
import { batchOf, LEARNING_RATE } from "../task.mjs";

/** @param {import("../task.mjs").Task} task @param {{ backend?: "webgpu" | "wasm" }} [options] @returns {Promise<import("../task.mjs").System>} */
export async function setup(task, { backend = "webgpu" } = {}) {
  const jax = await import("@jax-js/jax");
  const { numpy: np, nn, jit, valueAndGrad, tree } = jax;
  const found = await jax.init(backend);
  if (!found.includes(backend)) throw new Error(`jax-js has no ${backend} here`);
  jax.defaultDevice(backend);
  const { cell, H, B, T, V, E } = task;
  if (cell !== "lstm") throw new Error("only the LSTM is written for jax-js");
  const bound = 1 / Math.sqrt(H);
  let seed = 1;
  const uniform = (/** @type {number[]} */ shape, /** @type {number} */ scale) => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return scale * (seed / 2 ** 31 - 1);
    });
    return np.array(values).reshape(shape);
  };
  const zerosLike = (/** @type {any} */ p) => np.zeros(p.shape);
  let parameters = {
    embedding: uniform([V, E], 1),
    wx: uniform([E, 4 * H], bound),
    wh: uniform([H, 4 * H], bound),
    bias: uniform([4 * H], bound),
    head: uniform([H, V], bound),
    headBias: uniform([V], bound),
  };
  let m = tree.map(zerosLike, parameters);
  let v = tree.map(zerosLike, parameters);

  /** @param {any} p @param {any} x [T·B] one-hot rows @param {any} y the same of the targets */
  const lossOf = (p, x, y) => {
    const table = np.matmul(p.embedding, p.wx).add(p.bias);
    const gates = np.split(np.matmul(x, table).reshape([T, B, 4 * H]), T, 0);
    let h = np.zeros([B, H]);
    let c = np.zeros([B, H]);
    const outputs = [];
    for (let t = 0; t < T; t++) {
      const a = np.matmul(h, p.wh.ref).add(gates[t].reshape([B, 4 * H]));
      const [i, f, g, o] = np.split(a, 4, 1);
      c = nn
        .sigmoid(f)
        .mul(c)
        .add(nn.sigmoid(i).mul(np.tanh(g)));
      h = nn.sigmoid(o).mul(np.tanh(c.ref));
      outputs.push(h.ref);
    }
    c.dispose();
    h.dispose();
    p.wh.dispose();
    const logits = np.matmul(np.concatenate(outputs, 0), p.head).add(p.headBias);
    return nn
      .logSoftmax(logits)
      .mul(y)
      .sum()
      .mul(-1 / (T * B));
  };
  const step = jit(
    (
      /** @type {any} */ p,
      /** @type {any} */ m0,
      /** @type {any} */ v0,
      /** @type {any} */ x,
      /** @type {any} */ y,
      /** @type {any} */ c,
    ) => {
      const [loss, gradients] = valueAndGrad(lossOf)(tree.ref(p), nn.oneHot(x, V), nn.oneHot(y, V));
      const m1 = tree.map((/** @type {any} */ a, /** @type {any} */ g) => a.mul(0.9).add(g.mul(0.1)), m0, tree.ref(gradients));
      const v1 = tree.map(
        (/** @type {any} */ a, /** @type {any} */ g) => a.mul(0.999).add(g.ref.mul(g).mul(0.001)),
        v0,
        gradients,
      );
      const [c1, c2] = np.split(c, 2);
      const p1 = tree.map(
        (/** @type {any} */ q, /** @type {any} */ a, /** @type {any} */ b) =>
          q.sub(
            a
              .div(c1.ref)
              .mul(LEARNING_RATE)
              .div(np.sqrt(b.div(c2.ref)).add(1e-8)),
          ),
        p,
        tree.ref(m1),
        tree.ref(v1),
      );
      c1.dispose();
      c2.dispose();
      return [p1, m1, v1, loss];
    },
  );
  let done = 0;
  return {
    async step(at) {
      const { inputs, targets } = batchOf(task, at);
      done++;
      const correction = np.array(Float32Array.of(1 - 0.9 ** done, 1 - 0.999 ** done));
      const [p1, m1, v1, loss] = step(parameters, m, v, np.array(inputs), np.array(targets), correction);
      [parameters, m, v] = [p1, m1, v1];
      const value = (await loss.data())[0];
      await jax.blockUntilReady(tree.ref(parameters)).then((/** @type {any} */ ready) => tree.dispose?.(ready));
      return value;
    },
  };
}
