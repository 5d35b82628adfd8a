// Markdown of the agent as safe markup. The agent is hostile: nothing but the sanitizer's result reaches the page.
import DOMPurify from "../vendor/dompurify.js";
import markdownIt from "../vendor/markdown-it.js";
import { h, useLayoutEffect, useRef } from "./dom.js";
import { plain } from "./text.js";

const parser = markdownIt({ html: false, linkify: false });
const RULES = {
  RETURN_TRUSTED_TYPE: true,
  ALLOWED_TAGS: ["p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a",
    "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"],
  ALLOWED_ATTR: ["href", "title", "start"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
};

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
  if (node.tagName === "PRE") node.setAttribute("tabindex", "0"); // it scrolls sideways, also with the keyboard
});

export function Markdown({ text }) {
  const place = useRef(null);
  useLayoutEffect(() => {
    place.current.innerHTML = DOMPurify.sanitize(parser.render(plain(text)), RULES);
  }, [text]);
  return h("div", { class: "markdown", ref: place });
}
