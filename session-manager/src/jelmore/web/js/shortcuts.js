// Whether keys without Ctrl do something: who dictates, or types where no field is, may switch them off.
import { signal } from "./lib.js";
import { browser } from "./storage.js";

const NAME = "jelmore.shortcuts";

export const shortcuts = signal(browser.get(NAME) !== "off");

export function setShortcuts(on) {
  shortcuts.value = on;
  if (on) browser.remove(NAME);
  else browser.set(NAME, "off");
}
