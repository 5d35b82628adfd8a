// Whether somebody may see this page. A browser has six connections to a server without HTTP/2, for all its tabs together,
// and each stream keeps one: a page that nobody sees gives its streams up after a while, and continues where it was.
import { signal } from "./lib.js";

const LEFT_MS = 20_000;

export const seen = signal(document.visibilityState !== "hidden");

let timer = null;
document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (document.visibilityState !== "hidden") seen.value = true;
  else timer = setTimeout(() => (seen.value = false), LEFT_MS);
});

export function asTheOne(act) {
  // Calls `act(true)` in one tab of this browser, and in another one once that is closed or left. Never without Web Locks, as
  // over plain HTTP from another machine.
  let asking;
  let leave = () => {};
  const ask = () => {
    asking = new AbortController();
    navigator.locks?.request("jelmore.feed", { signal: asking.signal }, () => new Promise((done) => {
      leave = done;
      act(true);
    })).catch(() => {}); // it was left while it asked
  };
  ask();
  // A browser keeps a page for a step back only if the page holds nothing.
  addEventListener("pagehide", () => {
    asking.abort();
    leave();
    act(false);
  });
  addEventListener("pageshow", ({ persisted }) => persisted && ask());
}
