// Keeps the focus in the page: what has it may vanish, as a card does that was answered with a key.
const STOPS = "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled), textarea:not(:disabled), summary, [tabindex='0']";
let last = null; // what a person reached with the keyboard

export function keepFocus(root) {
  // The focus goes to what stands in the place of what was removed: its replacement, or what came after it.
  root.addEventListener("focusin", ({ target }) => (last = target.matches(":focus-visible") ? target : null));
  const left = ({ target }) => setTimeout(() => target === last && target.isConnected && document.activeElement !== target && (last = null));
  root.addEventListener("focusout", left);
  new MutationObserver((records) => {
    if (!last || last.isConnected || document.activeElement !== document.body) return;
    const gone = records.findLast((each) => each.target.isConnected && [...each.removedNodes].some((node) => node.contains(last)));
    last = null;
    if (gone) focusNear(gone, root);
  }).observe(root, { childList: true, subtree: true });
  root.addEventListener("keydown", (event) => event.repeat && event.target.matches(".ask button") && event.preventDefault());
}

function focusNear(gone, root) {
  // The next request itself, in sight, and not its button: a key that is pressed twice must not answer it unread.
  const stop = stopNear(gone, root);
  const asks = stop?.closest(".ask");
  if (asks) {
    asks.tabIndex = -1;
    asks.focus();
  } else stop?.focus({ preventScroll: true });
}

function stopNear({ target, previousSibling }, root) {
  let before = previousSibling?.isConnected ? previousSibling : null;
  const isAfter = (node) => !before || before.compareDocumentPosition(node) === Node.DOCUMENT_POSITION_FOLLOWING;
  for (let place = target; place && root.contains(place); place = place.parentElement) {
    const stops = [...place.querySelectorAll(STOPS)].filter((each) => each.checkVisibility());
    const found = stops.find(isAfter) ?? stops.at(-1);
    if (found) return found;
    before = place; // nothing in it can have the focus
  }
  return undefined;
}
