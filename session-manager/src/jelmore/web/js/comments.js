// Comments on lines of the changes that are not sent yet, kept by the browser until they are.
import { signal } from "./lib.js";
import { browser } from "./storage.js";

const known = new Map();
const place = (id) => `jelmore.comments.${id}`;

export function commentsOf(id) {
  // Returns the signal with a session's comments: {id, path, side, line, code, text}.
  if (!known.has(id)) known.set(id, signal(stored(id)));
  return known.get(id);
}

function stored(id) {
  try {
    const found = JSON.parse(browser.get(place(id)) ?? "[]");
    return Array.isArray(found) ? found.filter((each) => typeof each?.text === "string" && typeof each.path === "string") : [];
  } catch {
    return [];
  }
}

export function setComments(id, comments) {
  commentsOf(id).value = comments;
  const kept = comments.filter((each) => each.text.trim());
  if (kept.length) browser.set(place(id), JSON.stringify(kept));
  else browser.remove(place(id));
}

export const written = (comments) => comments.filter((each) => each.text.trim());
