/**
 * The files of wasm/, compiled: builds of so many bytes, in blocks of `block` bytes by turns, the last filled up with zeros,
 * compressed as a zlib stream and in base64.
 */
declare module "*/wasm?module" {
  export const block: number;
  export const lengths: Readonly<Record<"plain" | "relaxed" | "wide", number>>;
  export const packed: string;
}
