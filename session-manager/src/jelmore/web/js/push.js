// Notifications of this browser when a session waits for a person. The server encrypts them for this browser.
import { call, get, post } from "./api.js";
import { signal } from "./lib.js";
import { attempt } from "./store.js";

export const push = signal("unknown"); // unknown, missing (no browser or no server has it), denied, off, on

const ID = "jelmore.push"; // the id of the subscription at the server
let key = null;

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));

export async function lookForPush() {
  if (!("serviceWorker" in navigator && "PushManager" in globalThis && "Notification" in globalThis)) return (push.value = "missing");
  const found = await get("/push").catch(() => null);
  if (!found?.enabled) return (push.value = "missing");
  key = found.public_key;
  const worker = await navigator.serviceWorker.ready;
  const known = await worker.pushManager.getSubscription();
  if (known && localStorage.getItem(ID)) return (push.value = "on");
  return (push.value = Notification.permission === "denied" ? "denied" : "off");
}

export const subscribe = () => attempt(async () => {
  if ((await Notification.requestPermission()) !== "granted") return (push.value = "denied");
  const worker = await navigator.serviceWorker.ready;
  const made = await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(key) });
  const { endpoint, keys } = made.toJSON();
  const { id } = await post("/push/subscriptions", { endpoint, keys });
  localStorage.setItem(ID, id);
  return (push.value = "on");
});

// Also when somebody signs out: who signs in next on this browser must not get these notifications.
export async function unsubscribe() {
  const id = localStorage.getItem(ID);
  if (id === null) return;
  localStorage.removeItem(ID);
  push.value = "off";
  await call("DELETE", `/push/subscriptions/${encodeURIComponent(id)}`).catch(() => {});
  const worker = await navigator.serviceWorker.ready;
  await (await worker.pushManager.getSubscription())?.unsubscribe();
}
