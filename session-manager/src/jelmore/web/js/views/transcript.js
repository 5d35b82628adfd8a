// The conversation: a window of rows that moves over all of them.
import { Component, html, useEffect, useLayoutEffect, useRef, useState } from "../lib.js";
import { Markdown } from "../markdown.js";
import { plain, printed } from "../text.js";
import { call, isGuest } from "../api.js";
import { tab } from "../storage.js";
import { attempt, mayWrite } from "../store.js";
import { firstFrom } from "../transcript.js";
import { sure } from "./dialog.js";
import { Moment, dollars } from "./parts.js";
import { ToolCard } from "./tool.js";

const WINDOW = 200;
const STEP = 100;
const QUIET_MS = 2000; // until what a page begins with is there
const MOVES = ["wheel", "touchmove", "keydown", "pointerdown"];
const MOVED_MS = 1000;
const NEAR_END_PX = 80;
const AHEAD = "600px"; // how far from the edge of the screen the window moves on

const placeOf = (id) => `jelmore.scroll.${id}`;

export function keptPlace(id) {
  // Returns the row at which a reload was, {key, top}; undefined at the end.
  try {
    return JSON.parse(tab.get(placeOf(id)) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}

export function Transcript({ follower }) {
  follower.pending.value.length; // a card below the rows moves the end
  const rows = follower.rows.value;
  const [top, setTop] = useState(keptPlace(follower.id)?.key ?? null); // null: the newest; else the key of the first row that is shown
  const section = useRef(null);
  const anchor = useRef(keptPlace(follower.id)); // a row and where it was on the screen, to be put there again
  const pinned = useRef(!anchor.current);
  const start = top === null ? Math.max(0, rows.length - WINDOW) : firstFrom(rows, top);
  const shown = rows.slice(start, top === null ? undefined : start + WINDOW);
  const older = start + follower.earlier.value;
  const queued = new Set(follower.queued.value.map((each) => each.id));
  const holds = () => pinned.current || anchor.current;
  const now = useRef({});
  now.current = { top, first: shown[0]?.key, atEnd: start + WINDOW >= rows.length };
  const settle = (isPinned) => {
    // Who reads further up keeps the rows that are shown; who returns to the end follows it again.
    const { top: held, first, atEnd } = now.current;
    if (!isPinned && held === null && first !== undefined) setTop(first);
    else if (isPinned && held !== null && atEnd) setTop(null);
  };
  useEffect(() => keepPlace(section.current, pinned, settle, follower.id), [follower]);
  useLayoutEffect(() => {
    const row = anchor.current && section.current.querySelector(`[data-seq="${anchor.current.key}"]`);
    if (row) {
      scrollBy(0, row.getBoundingClientRect().top - anchor.current.top);
      anchor.current = undefined;
    } else if (pinned.current) {
      scrollTo(0, document.documentElement.scrollHeight);
    }
  });
  const show = (key) => {
    if (key === top) return;
    anchor.current = firstOnScreen(section.current);
    setTop(key);
  };
  const up = async () => {
    if (start === 0) {
      anchor.current = firstOnScreen(section.current);
      await attempt(() => follower.loadEarlier());
    }
    const all = follower.rows.value;
    show(all[Math.max(0, firstFrom(all, shown[0]?.key ?? 0) - STEP)]?.key ?? null);
  };
  const down = () => show(start + STEP + WINDOW >= rows.length ? null : rows[start + STEP].key);
  // New rows at the end are read out once they are whole: neither those that the page begins with nor older ones, nor a text that grows.
  const [live, setLive] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLive(true), QUIET_MS);
    return () => clearTimeout(timer);
  }, [follower]);
  return html`<section class="transcript" aria-label="Transcript" aria-live=${live && top === null ? "polite" : "off"} ref=${section}>
    ${older > 0 && html`<${Edge} label="Earlier entries" move=${up} holds=${holds} />`}
    ${shown.map((row) => html`<${Row} key=${row.key} row=${row} id=${follower.id} waits=${row.type === "user" && queued.has(row.id)} />`)}
    ${top !== null && start + WINDOW < rows.length && html`<${Edge} label="Later entries" move=${down} holds=${holds} />`}
    <${Growing} follower=${follower} pinned=${pinned} /></section>`;
}

function keepPlace(section, pinned, settle, id) {
  let timer;
  let moved = 0; // when the person last did something that moves the page
  let [last, height] = [scrollY, 0];
  const touch = () => (moved = performance.now());
  const scroll = () => {
    // Only a move upwards leaves the end. What comes or goes in the page moves it too: then it counts if the person did something.
    const { scrollHeight } = document.documentElement;
    if (innerHeight + scrollY >= scrollHeight - NEAR_END_PX) pinned.current = true;
    else if (scrollY < last && (scrollHeight === height || performance.now() - moved < MOVED_MS)) pinned.current = false;
    [last, height] = [scrollY, scrollHeight];
    settle(pinned.current);
    timer ??= setTimeout(() => {
      timer = undefined;
      const place = !pinned.current && firstOnScreen(section);
      if (place) tab.set(placeOf(id), JSON.stringify(place));
      else tab.remove(placeOf(id));
    }, 200);
  };
  addEventListener("scroll", scroll, { passive: true });
  for (const each of MOVES) addEventListener(each, touch, { passive: true });
  // Cards and the composer come and grow after the rows that they follow.
  const watch = new ResizeObserver(() => pinned.current && scrollTo(0, document.documentElement.scrollHeight));
  for (const each of document.querySelectorAll(".asking, .composer")) watch.observe(each);
  return () => {
    watch.disconnect();
    for (const each of MOVES) removeEventListener(each, touch);
    removeEventListener("scroll", scroll);
    clearTimeout(timer);
  };
}

function firstOnScreen(section) {
  for (const row of section.querySelectorAll("[data-seq]")) {
    const { top, bottom } = row.getBoundingClientRect();
    if (bottom > 0) return { key: Number(row.dataset.seq), top };
  }
  return undefined;
}

function Edge({ label, move, holds }) {
  // A button that presses itself when a reader comes near it, unless `holds()`: at the end, or on the way to a kept row.
  const button = useRef(null);
  const latest = useRef(move);
  latest.current = move;
  useEffect(() => {
    const watch = new IntersectionObserver((entries) => entries.at(-1).isIntersecting && !holds() && latest.current(), { rootMargin: AHEAD });
    watch.observe(button.current);
    return () => watch.disconnect();
  });
  return html`<button class="more" ref=${button} onClick=${move}>${label}</button>`;
}

function Growing({ follower, pinned }) {
  const text = follower.growing.value;
  useLayoutEffect(() => {
    if (pinned.current && text) scrollTo(0, document.documentElement.scrollHeight);
  }, [text]);
  return text && html`<div class="said growing" aria-live="off">${plain(text)}</div>`;
}

class Row extends Component {
  // Settled rows stay as they are, whatever happens around them.
  shouldComponentUpdate(next) {
    return next.row !== this.props.row || next.waits !== this.props.waits;
  }

  render({ row, id, waits }) {
    return html`<div class=${`item ${row.child ? "child" : ""}`} data-seq=${row.key}>${
      row.agent && html`<p class="agent">↳ ${plain(row.agent)}</p>`}${content(row, waits, id)}
      ${row.type === "user" && !row.cancelled && !waits && !isGuest() && mayWrite() && html`<${Rewind} id=${id} seq=${row.key} />`}</div>`;
  }
}

function Rewind({ id, seq }) {
  const rewind = async () => (await sure("Rewind to before this prompt?", "Files and conversation go back. Ignored files and commits stay.", "Rewind"))
    && attempt(() => call("POST", `/sessions/${id}/rewind`, { to_seq: seq }));
  return html`<button class="link rewind" title="Take files and conversation back to before this prompt" onClick=${rewind}>Rewind to here</button>`;
}

function content(row, waits, id) {
  switch (row.type) {
    case "user":
      return html`<div class=${`user ${row.cancelled ? "cancelled" : waits ? "queued" : ""}`} title=${row.by}>${plain(row.text)}${waits && html`<span class="waits">queued</span>`}</div>`;
    case "assistant":
      return html`<div class="said"><${Markdown} text=${row.text} /></div>`;
    case "thinking":
      return html`<details class="thinking"><summary>Thinking</summary>${plain(row.text)}</details>`;
    case "tool":
      return html`<${ToolCard} id=${id} row=${row} />`;
    case "files":
      return html`<${ChangedFiles} row=${row} />`;
    case "end":
      return html`<p class=${`note end ${failed(row.data) ? "failed" : ""}`}>${endText(row.data)} <${Moment} at=${row.at} /></p>`;
    default:
      return html`<p class=${row.type}>${printed(row.text)}</p>`;
  }
}

function ChangedFiles({ row }) {
  // Many files at once, as an archive that is unpacked brings, are one line.
  if (row.count === 1) return html`<p class="note">${plain(row.changes[0])}</p>`;
  const left = row.count - row.changes.length;
  return html`<details class="note"><summary>${row.op} ${row.count.toLocaleString()} files</summary><ul class="list">${row.changes.map(
    (each) => html`<li>${plain(each)}</li>`)}${left > 0 && html`<li>and ${left.toLocaleString()} more</li>`}</ul></details>`;
}

const failed = (data) => data.outcome !== "completed";

function endText(data) {
  const tokens = (data.usage?.input_tokens ?? 0) + (data.usage?.output_tokens ?? 0);
  return [failed(data) && (data.subtype && data.subtype !== "success" ? `failed: ${data.subtype}` : "failed"), data.duration_ms && `${(data.duration_ms / 1000).toFixed(1)} s`,
    tokens && `${tokens.toLocaleString()} tokens`, data.cost_usd && dollars(data.cost_usd)].filter(Boolean).concat("").join(" · ");
}
