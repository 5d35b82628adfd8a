// What happened around a session, in order: its events, newest first.
import { get } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { plain } from "../text.js";
import { attempt } from "../store.js";
import { Loading, useLoaded } from "./loaded.js";
import { Moment } from "./parts.js";

const PAGE = 200;
const MOST = 5_000; // of a session that goes on while its page is open
const NOISE = ["output.received"]; // the conversation shows it

const summary = (payload) => Object.entries(payload ?? {}).filter(([, value]) => value !== null && value !== "")
  .map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join(" · ").slice(0, 400);

async function before(id, end) {
  // Returns the events with a seq up to `end`, as far as one page goes back, newest first.
  const start = Math.max(0, end - PAGE);
  const events = [];
  let after = start;
  while (after < end) {
    const page = await get(`/sessions/${id}/events?after=${after}&limit=${PAGE}`);
    if (page.length === 0) break;
    events.push(...page.filter((each) => each.seq <= end));
    after = page.at(-1).seq;
  }
  return { id, start, end, events: events.reverse() };
}

// Two stretches of one session as one; the newer alone where something lies between them.
const joined = (newer, older) => (older?.id !== newer.id || older.end < newer.start ? newer : {
  ...newer, start: Math.min(newer.start, older.start), events: [...newer.events, ...older.events.filter((each) => each.seq <= newer.start)] });

const bounded = (stretch) => (stretch.events.length <= MOST ? stretch
  : { ...stretch, start: stretch.events[MOST - 1].seq - 1, events: stretch.events.slice(0, MOST) });

export function Timeline({ session }) {
  const id = session.id;
  const newest = useLoaded(() => before(id, session.event_seq), [id, session.event_seq]);
  const [everything, setEverything] = useState(false);
  const [found, setFound] = useState(null);
  useEffect(() => {
    if (newest.found !== null) setFound((held) => bounded(joined(newest.found, held)));
  }, [newest.found]);
  const more = () => attempt(async () => {
    const older = await before(id, found.start);
    setFound((held) => joined(held, older)); // newer ones may have come meanwhile
  });
  if (found === null) return html`<${Loading} of=${newest} />`;
  const shown = found.events.filter((each) => everything || !NOISE.includes(each.event_type));
  return html`<section class="timeline" aria-label="Events">${newest.problem && html`<${Loading} of=${newest} />`}<p class="buttons"><label class="option"><input type="checkbox" checked=${everything}
      onChange=${(event) => setEverything(event.target.checked)} /> Also each output</label></p>
    <ol class="list" reversed>${shown.map((each) => html`<li key=${each.seq}><${Moment} at=${each.timestamp} seconds />
      <b>${each.event_type}</b><span class="hint">${plain(summary(each.payload))}</span></li>`)}</ol>
    ${found.start > 0 && html`<p class="buttons"><button onClick=${more}>Older events</button></p>`}</section>`;
}
