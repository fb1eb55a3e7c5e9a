/** What went wrong, as a word that programs can test. */
export type ErrorCode =
  | "E_NO_WEBGPU"
  | "E_DISPOSED"
  | "E_LIMIT"
  | "E_DEVICE_LOST"
  | "E_NAN_LOSS"
  | "E_BAD_CHECKPOINT"
  | "E_SHAPE"
  | "E_CONFIG"
  | "E_DATA"
  | "E_SHADER";

/**
 * Every error that Gatewise throws on purpose. The message says where, what was expected, what came, and what
 * to do; `code` says which kind it is.
 *
 * @example
 * const why = (error: unknown) => (error instanceof GatewiseError ? error.code : undefined);
 * await openDevice().catch((error) => console.warn(why(error))); // "E_NO_WEBGPU", say
 */
export class GatewiseError extends Error {
  /** Always "GatewiseError". */
  override readonly name = "GatewiseError";
  constructor(
    /** Which kind it is. */
    readonly code: ErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** The error for what is used after its dispose. */
export const disposedError = (what: string): GatewiseError =>
  new GatewiseError("E_DISPOSED", `${what} was disposed; make another`);
