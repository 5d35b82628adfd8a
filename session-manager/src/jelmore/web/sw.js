// Keeps the page's own files, so that it opens while the server is away. It never touches the API, and asks the server
// first: a kept file is used only when no answer comes. The server fills in the two constants below.
const VERSION = "__VERSION__";
const FILES = ["__FILES__"];
const KEPT = `jelmore-${VERSION}`;
const PATIENCE_MS = 5000;

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(KEPT);
    await cache.addAll(FILES.map((path) => new Request(path, { cache: "reload" })));
    await self.skipWaiting();
  })());
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name !== KEPT) await caches.delete(name);
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== location.origin || !FILES.includes(pathname)) return;
  event.respondWith(answer(event.request, pathname));
});

async function answer(request, pathname) {
  try {
    return await fetch(pathname, { cache: "no-cache", signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch {
    const kept = await (await caches.open(KEPT)).match(pathname);
    if (kept) return kept;
    throw new TypeError("the server does not answer");
  }
}
