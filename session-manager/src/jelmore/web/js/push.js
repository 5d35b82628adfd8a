// Notifications of this browser when a session waits for a person. The server encrypts them for this browser.
import { call, get, post } from "./api.js";
import { signal } from "./lib.js";
import { browser } from "./storage.js";
import { attempt, me } from "./store.js";

export const push = signal("unknown"); // unknown, missing (no browser or no server has it), denied, off, on

const ID = "jelmore.push"; // the id of the subscription at the server
const OF = "jelmore.push.of"; // whose it is
const AT = "jelmore.push.at"; // its address at the push service
let key = null;

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));

export async function lookForPush() {
  if (!("serviceWorker" in navigator && "PushManager" in globalThis && "Notification" in globalThis)) return (push.value = "missing");
  const found = await get("/push").catch(() => null);
  if (!found?.enabled) return (push.value = "missing");
  key = found.public_key;
  const worker = await navigator.serviceWorker.ready;
  const known = await worker.pushManager.getSubscription();
  if (known && browser.get(ID)) {
    // A browser may replace its subscription by itself. It comes back to that here; until then nothing arrives.
    if (known.endpoint !== browser.get(AT)) await tell(known).catch(() => {});
    return (push.value = "on");
  }
  return (push.value = Notification.permission === "denied" ? "denied" : "off");
}

export const subscribe = () => attempt(async () => {
  if ((await Notification.requestPermission()) !== "granted") return (push.value = "denied");
  const worker = await navigator.serviceWorker.ready;
  const made = await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(key) });
  await tell(made);
  return (push.value = "on");
});

async function tell(subscription) {
  const { endpoint, keys } = subscription.toJSON();
  const { id } = await post("/push/subscriptions", { endpoint, keys });
  browser.set(ID, id);
  browser.set(OF, me.value.id);
  browser.set(AT, endpoint);
}

// Also when somebody signs out: who signs in next on this browser must not get these notifications.
export async function unsubscribe() {
  const id = browser.get(ID);
  if (id === null) return;
  const forgotten = forget();
  await call("DELETE", `/push/subscriptions/${encodeURIComponent(id)}`).catch(() => {});
  await forgotten;
}

async function forget() {
  browser.remove(ID);
  browser.remove(OF);
  browser.remove(AT);
  push.value = "off";
  const worker = await navigator.serviceWorker.ready;
  await (await worker.pushManager.getSubscription())?.unsubscribe();
}

// The login of who subscribed may have ended without their signing out. Only they can remove the subscription at the
// server; when the browser gives it up, the server hears of that with the next notification.
me.subscribe((who) => who && browser.get(ID) && browser.get(OF) !== who.id && forget().catch(() => {}));
