// Small pieces that several views show.
import { now } from "../clock.js";
import { html, signal } from "../lib.js";
import { plain } from "../text.js";
import { ended } from "../store.js";

const present = signal(now());
setInterval(() => (present.value = now()), 15_000);

const STEPS = [[90, 1, "s"], [5400, 60, "min"], [129_600, 3600, "h"], [Infinity, 86_400, "d"]];

export function Age({ at }) {
  const seconds = Math.max(0, (present.value - Date.parse(at)) / 1000);
  const [, divisor, unit] = STEPS.find(([limit]) => seconds < limit);
  return html`<time class="age" datetime=${at} title=${new Date(at).toLocaleString()}>${Math.round(seconds / divisor)} ${unit}</time>`;
}

const TIME = { hour: "2-digit", minute: "2-digit" };

export function Moment({ at, seconds = false }) {
  // A time of the day; the day too, unless it is today.
  const date = new Date(at);
  const isToday = date.toDateString() === new Date(present.value).toDateString();
  const text = date.toLocaleTimeString([], seconds ? { ...TIME, second: "2-digit" } : TIME);
  return html`<time datetime=${at} title=${date.toLocaleString()}>${!isToday && html`${date.toLocaleDateString([], { month: "short", day: "numeric" })} `}${text}</time>`;
}

export function State({ session }) {
  const asleep = !ended(session) && session.waiting_for !== "budget" && { frozen: "paused", hibernated: "hibernated" }[session.presence];
  const word = session.waiting_for === "budget" && !ended(session) ? "budget" : session.status === "waiting_input"
    ? { permission: "asks", question: "asks", egress: "asks", prompt: "ready" }[session.waiting_for] ?? session.waiting_for
    : { active: "working", initializing: "starting", terminated: "ended" }[session.status] ?? session.status;
  return html`<span class=${`state ${session.status} ${asleep || ""}`}>${asleep || word}</span>`;
}

const UNITS = ["B", "KB", "MB", "GB", "TB"];

export function size(bytes) {
  // Returns a number of bytes as a person reads it: 666 KB, 48.3 GB.
  const units = (step) => Number((bytes / 1000 ** step).toFixed(step ? 1 : 0));
  let step = 0;
  while (step < UNITS.length - 1 && units(step) >= 1000) step += 1; // as it is rounded: 999 950 bytes are 1 MB
  return `${units(step)} ${UNITS[step]}`;
}

export const dollars = (amount) => `$${amount.toFixed(amount > 0 && amount < 0.1 ? 4 : 2)}`;

const SHOWN = 5;
export const initials = (name) => {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)].map((word) => [...word][0]) : [...(words[0] ?? "?")].slice(0, 2);
  return letters.join("").toUpperCase();
};

// Who else has the session open; nothing for somebody who is alone.
export function People({ people, more }) {
  if (people.length + more < 2) return null;
  const names = people.map((each) => `${plain(each.name)} (${each.role})`).join(", ") + (more ? ` and ${more} more` : "");
  const left = people.length - SHOWN + more;
  return html`<span class="people" role="img" aria-label=${`Open at the moment: ${names}`} title=${names}>${people.slice(0, SHOWN).map(
    (each) => html`<span key=${each.id} class=${`person ${each.role}`} aria-hidden="true">${initials(plain(each.name))}</span>`,
  )}${left > 0 && html`<span class="person" aria-hidden="true">+${left}</span>`}</span>`;
}
