// The file of a worker that is a thread of the WebAssembly device, for pages whose policy allows no worker made of a text.
import { serve, type ThreadData } from "./wasm-threads.ts";

addEventListener("message", ({ data }: MessageEvent<ThreadData>) => {
  postMessage("ready");
  serve(data);
});
