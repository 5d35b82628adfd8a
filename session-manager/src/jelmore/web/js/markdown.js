// Markdown of the agent as safe markup. The agent is hostile: nothing but the sanitizer's result reaches the page.
import DOMPurify from "../vendor/dompurify.js";
import markdownIt from "../vendor/markdown-it.js";
import { h, useLayoutEffect, useRef } from "./dom.js";

const parser = markdownIt({ html: false, linkify: false });
const RULES = {
  RETURN_TRUSTED_TYPE: true,
  ALLOWED_TAGS: ["p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a",
    "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"],
  ALLOWED_ATTR: ["href", "title", "start"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
};
const BIDI = /[\u202a-\u202e\u2066-\u2069]/g;
const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g;
// What terminals obey: colours, titles, links, and moves of the cursor.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~])/g;

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
  if (node.tagName === "PRE") node.setAttribute("tabindex", "0"); // it scrolls sideways, also with the keyboard
});

// A text in which nothing turns the reading direction, and control characters are seen: somebody may have to allow it.
export const plain = (text) => String(text ?? "").replace(BIDI, "").replace(CONTROL, (each) => String.fromCharCode(0x2400 + each.charCodeAt(0)));
// What a program printed, without its escape sequences.
export const printed = (text) => plain(String(text ?? "").replace(ESCAPES, ""));

export function Markdown({ text }) {
  const place = useRef(null);
  useLayoutEffect(() => {
    place.current.innerHTML = DOMPurify.sanitize(parser.render(plain(text)), RULES);
  }, [text]);
  return h("div", { class: "markdown", ref: place });
}
