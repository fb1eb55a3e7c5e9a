/** The files of wasm/, compiled: base64 of the build of plain SIMD and of the one of relaxed SIMD. */
declare module "*/wasm?module" {
  export const plain: string;
  export const relaxed: string;
}
