// Keeps the page, its worker and the books, so that the lab works without a network once it was loaded. The build
// fills in the files and a version of their content; a new version replaces the old one as a whole.

/** What is used of a service worker's world; TypeScript's own description of it clashes with that of pages. */
interface ServiceWorker {
  addEventListener(type: "install" | "activate", listen: (event: Waiting) => void): void;
  addEventListener(type: "message", listen: (event: Waiting & { readonly data: unknown }) => void): void;
  addEventListener(
    type: "fetch",
    listen: (event: { readonly request: Request; respondWith(answer: Promise<Response>): void }) => void,
  ): void;
  skipWaiting(): Promise<void>;
  readonly clients: { claim(): Promise<void> };
}
interface Waiting {
  waitUntil(work: Promise<unknown>): void;
}
const scope = self as unknown as ServiceWorker;

const FILES: { readonly shell: readonly string[]; readonly books: readonly string[] } = JSON.parse("__FILES__");
const CACHE = "gatewise-lab-__VERSION__";

scope.addEventListener("install", (event) => {
  const shell = caches
    .open(CACHE)
    .then((cache) => cache.addAll([...FILES.shell, ...FILES.books.filter((book) => /alice/.test(book))]));
  event.waitUntil(shell.then(() => scope.skipWaiting()));
});

scope.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) if (name.startsWith("gatewise-lab-") && name !== CACHE) await caches.delete(name);
      await scope.clients.claim();
    })(),
  );
});

// The page asks for the rest once it is idle: twelve megabytes of books are not to compete with its own start.
scope.addEventListener("message", (event) => {
  if (event.data !== "keep-books") return;
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      for (const book of FILES.books) if (!(await cache.match(book))) await cache.add(book).catch(() => {});
    })(),
  );
});

scope.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== self.location.origin) return;
  event.respondWith(answer(request));
});

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  // The page is one file, whatever configuration its address carries.
  const kept = await cache.match(request.mode === "navigate" ? "./" : request, { ignoreSearch: request.mode === "navigate" });
  return kept ?? fetch(request);
}
