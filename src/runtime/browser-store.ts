import type { TuningStore } from "./tuning-memory.ts";

const DATABASE = "gatewise-tuning";
const TEXTS = "texts";

/** A small database of the browser's, which pages and workers share; undefined where there is none. */
export function browserStore(): TuningStore | undefined {
  let database: Promise<IDBDatabase> | undefined;
  const open = (): Promise<IDBDatabase> =>
    (database ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(DATABASE, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(TEXTS);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error!);
    }));
  const update = async (name: string, change: (text: string | undefined) => string): Promise<void> => {
    // One transaction: nobody else's is served between the two.
    const texts = (await open()).transaction(TEXTS, "readwrite").objectStore(TEXTS);
    await done(texts.put(change(await done(texts.get(name))), name));
  };
  try {
    // A getter that throws where storage is forbidden.
    if (!globalThis.indexedDB) return undefined;
  } catch {
    return undefined;
  }
  return {
    load: async (name) => done(await open().then((db) => db.transaction(TEXTS).objectStore(TEXTS).get(name))),
    save: (name, text) => update(name, () => text),
    update,
  };
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error!);
  });
}
