// Inbox first: what waits for me, answerable from the list; then every session.
import { get } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { attempt, ended, filter, load, ordered, shortId, titleOf, waiting, waitsForMe } from "../store.js";
import { PendingCards } from "./pending.js";
import { Age, State } from "./parts.js";

const SEARCH_MS = 250;

export function Home() {
  const others = ordered.value.filter((each) => !waitsForMe(each));
  const live = others.filter((each) => !ended(each));
  const past = others.filter(ended);
  return html`<main>
    <${Search} />
    ${waiting.value.length > 0 && html`<section aria-label="Waits for you"><h2>Waits for you</h2>
      ${waiting.value.map((each) => html`<${Waiting} key=${each.id} session=${each} />`)}</section>`}
    <section aria-label="Sessions"><h2>Sessions</h2>
      ${live.length === 0 && html`<p class="hint">No live session. <a href="#/new">Start one</a>.</p>`}
      <ul class="list">${live.map((each) => html`<${Row} key=${each.id} session=${each} />`)}</ul></section>
    ${past.length > 0 && html`<details><summary>Ended (${past.length})</summary>
      <ul class="list">${past.map((each) => html`<${Row} key=${each.id} session=${each} />`)}</ul></details>`}
  </main>`;
}

function Search() {
  const [timer, setTimer] = useState(null);
  const search = (event) => {
    filter.value = event.target.value.trim();
    clearTimeout(timer);
    setTimer(setTimeout(() => attempt(load), SEARCH_MS));
  };
  return html`<input id="search" type="search" aria-label="Search titles, prompts and answers" placeholder="Search …"
    value=${filter.value} onInput=${search} />`;
}

function Waiting({ session }) {
  const [pending, setPending] = useState([]);
  useEffect(() => {
    attempt(async () => setPending((await get(`/sessions/${session.id}/permissions`)).pending));
  }, [session.id, session.version]);
  return html`<article class="card waits"><header><a href=${`#/s/${session.id}`}>${titleOf(session)}</a>
      <${Age} at=${session.last_activity} /></header>
    <${PendingCards} id=${session.id} pending=${pending} onDone=${(id) =>
      setPending(pending.filter((each) => each.request_id !== id))} /></article>`;
}

function Row({ session }) {
  return html`<li><a class="row" href=${`#/s/${session.id}`}>
    <span class="title">${session.pinned && html`<span title="pinned">★ </span>`}${titleOf(session)}</span>
    <${State} session=${session} /><span class="id">${shortId(session.id)}</span><${Age} at=${session.last_activity} /></a></li>`;
}
