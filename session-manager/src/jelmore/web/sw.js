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

// A notification of the server: the title of a session that waits for its owner. See js/push.js.
const WAITS = { permission: "asks for a permission", question: "asks a question", egress: "asks to connect" };
const BIDI = /[\u202a-\u202e\u2066-\u2069]/g; // as in js/text.js: nothing turns the reading direction
const SESSION = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

self.addEventListener("push", (event) => {
  const { title, session_id: id, waiting_for: why } = event.data?.json() ?? {};
  event.waitUntil(self.registration.showNotification(String(title ?? "Jelmore").replace(BIDI, ""), {
    body: `${WAITS[why] ?? "waits for you"}`,
    tag: String(id), // a later one of the same session takes its place
    icon: "/ui/icon-192.png",
    data: { path: SESSION.test(id) ? `/#/s/${id}` : "/" },
  }));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(show(event.notification.data?.path ?? "/"));
});

const ANSWER_MS = 500;

async function show(path) {
  // In a page that shows it already, else in the one that was last in use, else in a new one. That of a guest stays what it is.
  const open = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const pages = open.filter(({ url }) => new URL(url).pathname === "/");
  const shown = await Promise.all(pages.map(addressOf));
  const there = pages.find((_, index) => shown[index] && `/#${shown[index]}/`.startsWith(`${path}/`));
  const page = there ?? pages.find((_, index) => shown[index]) ?? pages.find((_, index) => shown[index] === undefined);
  if (!page) return self.clients.openWindow(path);
  await page.focus().catch(() => {}); // a browser may refuse it
  return there ?? page.navigate(path).catch(() => self.clients.openWindow(path));
}

function addressOf(page) {
  // Returns where the dashboard is in a page, as it says itself: a browser may tell the address that it began with. Null for a
  // guest's, undefined without an answer, as of a page that the browser has put to sleep.
  const { port1, port2 } = new MessageChannel();
  return new Promise((answer) => {
    port1.onmessage = ({ data }) => answer(data);
    setTimeout(answer, ANSWER_MS);
    page.postMessage("address", [port2]);
  });
}
