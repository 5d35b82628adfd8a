// Inbox first: what waits for me, answerable from the list; then every session.
import { get } from "../api.js";
import { html, signal, useEffect, useState } from "../lib.js";
import { plain } from "../text.js";
import { archived, attempt, change, cut, ended, filter, load, look, mayWrite, ordered, shortId, tag, tags, titleOf, waiting, waitsForMe } from "../store.js";
import { lookForPush, push, subscribe, unsubscribe } from "../push.js";
import { PendingCards } from "./pending.js";
import { Age, State } from "./parts.js";

const SEARCH_MS = 250;

export function Home() {
  const others = ordered.value.filter((each) => !waitsForMe(each));
  const live = others.filter((each) => !ended(each));
  const past = others.filter(ended);
  const waits = mayWrite() ? "Waits for you" : "Waits for an answer";
  return html`<main><h1 class="unseen">Inbox and sessions</h1>
    <${Search} />
    ${waiting.value.length > 0 && html`<section aria-label=${waits}><h2>${waits}</h2>
      ${waiting.value.map((each) => html`<${Waiting} key=${each.id} session=${each} />`)}</section>`}
    <section aria-label="Sessions"><div class="heading"><h2>${archived.value ? "Archived sessions" : "Sessions"}</h2><${Notify} /></div>
      ${live.length === 0 && waiting.value.length === 0 && !archived.value && (filter.value || tag.value ? html`<p class="hint">No live session matches.</p>`
        : html`<div class="card empty"><p>No session is live.${mayWrite() && " Say what is to be done, and follow it here."}</p>
          ${mayWrite() && html`<a class="button primary" href="#/new">New session</a>`}</div>`)}
      <ul class="list">${live.map((each) => html`<${Row} key=${each.id} session=${each} />`)}</ul></section>
    ${past.length > 0 && html`<details open=${archived.value || !!filter.value}><summary>Ended (${past.length})</summary>
      <ul class="list">${past.map((each) => html`<${Row} key=${each.id} session=${each} />`)}</ul></details>`}
    ${cut.value && html`<p class="hint">More sessions match than are listed here. Search for them.</p>`}
    <p class="buttons"><button onClick=${() => again(() => (archived.value = !archived.value))}>${archived.value ? "Back to all sessions" : "Archived sessions"}</button></p>
  </main>`;
}

const again = (choose) => {
  choose();
  attempt(load);
};

const words = signal(""); // as they are typed: a space at their end must stay until the next letter

function Search() {
  const [timer, setTimer] = useState(null);
  const search = (event) => {
    words.value = event.target.value;
    filter.value = words.value.trim();
    clearTimeout(timer);
    setTimer(setTimeout(() => attempt(load), SEARCH_MS));
  };
  return html`<input id="search" type="search" aria-label="Search titles, prompts and answers" placeholder="Search …"
      value=${words.value} onInput=${search} />
    ${(tags.value.length > 0 || tag.value) && html`<p class="tags" role="group" aria-label="Tags">${[...new Set([...tags.value, ...(tag.value ? [tag.value] : [])])].map((each) => html`<button
      key=${each} aria-pressed=${tag.value === each} onClick=${() => again(() => (tag.value = tag.value === each ? "" : each))}>${plain(each)}</button>`)}</p>`}`;
}

const asked = new Map(); // requests of sessions as last read, so that a page that is returned to is as high as it was

function Waiting({ session }) {
  const known = asked.get(session.id);
  const [pending, set] = useState(known?.version === session.version ? known.found : []);
  const setPending = (found) => {
    asked.set(session.id, { version: session.version, found });
    set(found);
  };
  useEffect(() => {
    let current = true; // an older answer must not replace a newer one
    look(async () => {
      const found = await get(`/sessions/${session.id}/permissions`);
      if (current) setPending(found.pending);
    });
    return () => (current = false);
  }, [session.id, session.version]);
  return html`<article class="card waits"><header><a href=${`#/s/${session.id}`}>${plain(titleOf(session))}</a>
      <${Age} at=${session.last_activity} /></header>
    <${PendingCards} id=${session.id} pending=${pending} onDone=${(id) =>
      setPending(pending.filter((each) => each.request_id !== id))} /></article>`;
}

function Row({ session }) {
  const pin = () => change(session.id, { pinned: !session.pinned });
  return html`<li class="listed">${mayWrite() ? html`<button class="pin" aria-pressed=${session.pinned} aria-label=${`Pin ${plain(titleOf(session))}`} onClick=${pin}>${
      session.pinned ? "★" : "☆"}</button>` : session.pinned && html`<span class="pin" role="img" aria-label="pinned">★</span>`}<a class="row" href=${`#/s/${session.id}`}>
    <span class="title">${plain(titleOf(session))}${session.tags.map((each) => html` <span class="tag">${plain(each)}</span>`)}</span>
    <${State} session=${session} /><span class="id">${shortId(session.id)}</span><${Age} at=${session.last_activity} /></a></li>`;
}

// Offers notifications where the browser and the server have them.
function Notify() {
  useEffect(() => {
    lookForPush();
  }, []);
  if (push.value === "denied") return html`<span class="hint">This browser refuses notifications.</span>`;
  if (push.value === "on") return html`<button onClick=${() => attempt(unsubscribe)}>Notify me no more</button>`;
  return push.value === "off" && html`<button onClick=${subscribe}>Notify me when a session waits</button>`;
}
