// Where a page begins: at its top, and after a step back where it was left. The conversation keeps its own place.
const left = new Map(); // scroll position by entry of the history
let entry = entered();

function entered() {
  // Returns the id of the entry; a new one has none yet.
  const id = history.state?.entry ?? crypto.randomUUID?.() ?? String(Math.random());
  history.replaceState({ ...history.state, entry: id }, "");
  return id;
}

addEventListener("scroll", () => left.set(entry, scrollY), { passive: true });

const sessionOf = (address) => /^\/s\/[^/]+/.exec(address)?.[0];

export function arrive(before, address) {
  // Call when the address has changed; the page is drawn after that.
  entry = entered();
  const known = left.get(entry);
  const tab = address.split("/")[3];
  if (sessionOf(address) && (!tab || tab === "conversation")) return;
  setTimeout(() => {
    const tabs = sessionOf(address) && sessionOf(address) === sessionOf(before) && document.querySelector(".tabs");
    // From one part of a session to another one, its tabs stay under the bar.
    const top = tabs ? Math.min(scrollY, tabs.offsetTop - document.querySelector(".bar").offsetHeight) : 0;
    scrollTo(0, known ?? top);
  });
}
