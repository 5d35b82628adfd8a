// Small pieces that several views show.
import { html, signal } from "../lib.js";
import { ended } from "../store.js";

const now = signal(Date.now());
setInterval(() => (now.value = Date.now()), 15_000);

const STEPS = [[90, 1, "s"], [5400, 60, "min"], [129_600, 3600, "h"], [Infinity, 86_400, "d"]];

export function Age({ at }) {
  const seconds = Math.max(0, (now.value - Date.parse(at)) / 1000);
  const [, divisor, unit] = STEPS.find(([limit]) => seconds < limit);
  return html`<time class="age" datetime=${at} title=${new Date(at).toLocaleString()}>${Math.round(seconds / divisor)} ${unit}</time>`;
}

export function State({ session }) {
  const asleep = !ended(session) && { frozen: "paused", hibernated: "hibernated" }[session.presence];
  const word = session.status === "waiting_input"
    ? { permission: "asks", question: "asks", egress: "asks", prompt: "ready" }[session.waiting_for] ?? session.waiting_for
    : session.status === "active" ? "working" : session.status;
  return html`<span class=${`state ${session.status} ${asleep || ""}`}>${asleep || word}</span>`;
}
