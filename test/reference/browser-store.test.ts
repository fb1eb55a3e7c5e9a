// The browser's small database, with one that keeps texts in a map and answers when it is asked to.
import { afterEach, expect, it, vi } from "vitest";
import { browserStore } from "../../src/runtime/browser-store.ts";

afterEach(() => vi.unstubAllGlobals());

/** An IDBFactory of one text store, and what was asked of it. */
function makeDatabase(failing: string[] = []) {
  const texts = new Map<string, string>();
  const asked: string[] = [];
  const answer = <T>(what: string, result: () => T): object => {
    asked.push(what);
    const request: Record<string, unknown> = {};
    setTimeout(() => {
      if (failing.includes(what)) {
        request.error = new DOMException(what, "UnknownError");
        return (request.onerror as () => void)();
      }
      request.result = result();
      (request.onupgradeneeded as (() => void) | undefined)?.();
      (request.onsuccess as () => void)();
    });
    return request;
  };
  const database = {
    createObjectStore: (name: string) => asked.push(`create ${name}`),
    transaction: (name: string, mode = "readonly") => ({
      objectStore: (same: string) => ({
        get: (key: string) => answer(`get from ${name}/${same} ${mode}`, () => texts.get(key)),
        put: (value: string, key: string) => answer(`put to ${name}/${same} ${mode}`, () => void texts.set(key, value)),
      }),
    }),
  };
  const open = (name: string, version: number): object => answer(`open ${name} ${version}`, () => database);
  vi.stubGlobal("indexedDB", { open });
  return { texts, asked, failing };
}

it("keeps texts by name, opens once, and changes a text in one transaction", async () => {
  const { asked, texts } = makeDatabase();
  const store = browserStore()!;
  expect(asked).toEqual([]);
  expect(await store.load("a")).toBeUndefined();
  await store.save("a", "first");
  await store.update!("a", (text) => `${text} and second`);
  await store.update!("b", (text) => String(text));
  expect(await store.load("a")).toBe("first and second");
  expect(Object.fromEntries(texts)).toEqual({ a: "first and second", b: "undefined" });
  const [reading, writing] = [
    "get from texts/texts readonly",
    ["get from texts/texts readwrite", "put to texts/texts readwrite"],
  ];
  expect(asked).toEqual(["open gatewise-tuning 1", "create texts", reading, ...writing, ...writing, ...writing, reading]);
});

it.each(["open gatewise-tuning 1", "get from texts/texts readwrite", "put to texts/texts readwrite"])(
  "fails where the database does: %s",
  async (what) => {
    makeDatabase([what]);
    await expect(browserStore()!.save("a", "text")).rejects.toThrow(what);
  },
);

it("is none where there is no database, or where asking for it is forbidden", () => {
  expect(browserStore()).toBeUndefined();
  Object.defineProperty(globalThis, "indexedDB", {
    configurable: true,
    get() {
      throw new DOMException("forbidden", "SecurityError");
    },
  });
  try {
    expect(browserStore()).toBeUndefined();
  } finally {
    Reflect.deleteProperty(globalThis, "indexedDB");
  }
});
