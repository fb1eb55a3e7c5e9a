// What worker.browser.test.ts runs in workers, one after another: a device that tunes by default, as it is in browsers.
import { openDevice } from "../../src/index.ts";
import { FAST, recordDoubling, SLOW } from "./doubling.ts";

async function tune(): Promise<{ readonly chosen: string | undefined; readonly milliseconds: number | undefined }> {
  const device = await openDevice({ prefer: "webgpu", tuningMilliseconds: 60_000 });
  (await device.record("test", recordDoubling([SLOW, FAST]))).dispose();
  const [tuned] = [...(device.tuner?.results.values() ?? [])];
  const milliseconds = device.tuner?.milliseconds;
  device.dispose();
  return { chosen: tuned?.chosen, milliseconds };
}

tune().then(postMessage, (error: unknown) => postMessage(String(error)));
