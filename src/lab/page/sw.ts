// Keeps the page, its worker and the books, so that the lab works without a network once it was loaded. The build
// fills in the files and a version of their content. A new version replaces the old one as a whole, once no page of the
// old one is open: an open page still loads views by the old one's names.

/** What is used of a service worker's world; TypeScript's own description of it clashes with that of pages. */
interface ServiceWorker {
  addEventListener(type: "install" | "activate", listen: (event: Waiting) => void): void;
  addEventListener(type: "message", listen: (event: Waiting & { readonly data: unknown }) => void): void;
  addEventListener(
    type: "fetch",
    listen: (event: { readonly request: Request; respondWith(answer: Promise<Response>): void }) => void,
  ): void;
  readonly clients: { claim(): Promise<void> };
  readonly registration: { readonly scope: string };
}
interface Waiting {
  waitUntil(work: Promise<unknown>): void;
}
const scope = self as unknown as ServiceWorker;

const FILES: { readonly shell: readonly string[]; readonly books: readonly string[] } = JSON.parse("__FILES__");
/** Other pages of the same server have caches of their own. */
const OURS = `gatewise-lab ${scope.registration.scope} `;
const SHELL = `${OURS}__VERSION__`;
/** They stay from version to version, as long as they are the same. */
const BOOKS = `${OURS}__BOOKS__`;

scope.addEventListener("install", (event) => {
  // From the server itself: what the browser's own cache holds may be of another version.
  const fresh = FILES.shell.map((file) => new Request(file, { cache: "reload" }));
  event.waitUntil(caches.open(SHELL).then((cache) => cache.addAll(fresh)));
});

scope.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys())
        if (name.startsWith(OURS) && ![SHELL, BOOKS].includes(name)) await caches.delete(name);
      await scope.clients.claim();
    })(),
  );
});

// The page asks for the rest once it is idle: twelve megabytes of books are not to compete with its own start.
scope.addEventListener("message", (event) => {
  if (event.data !== "keep-books") return;
  event.waitUntil(
    (async () => {
      const cache = await caches.open(BOOKS);
      for (const book of FILES.books) if (!(await cache.match(book))) await cache.add(book).catch(() => {});
    })(),
  );
});

scope.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== self.location.origin) return;
  event.respondWith(answer(request));
});

/** A page or a worker that is isolated from other origins, which threads of WebAssembly want; the page has nothing of others. */
function isolated(kept: Response): Response {
  const headers = new Headers(kept.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(kept.body, { headers });
}

async function answer(request: Request): Promise<Response> {
  // A page is one file, whatever configuration its address carries.
  const page = new URL(request.url);
  [page.search, page.pathname] = ["", page.pathname.replace(/\/index\.html$/, "/")];
  const wanted = request.mode === "navigate" ? page : request;
  for (const name of [SHELL, BOOKS]) {
    // Hosts say that files vary with headers, such as Origin, that a page sends and this worker did not: they do not.
    const kept = await (await caches.open(name)).match(wanted, { ignoreVary: true });
    if (kept) return page === wanted || request.destination === "worker" ? isolated(kept) : kept;
  }
  return fetch(request);
}
