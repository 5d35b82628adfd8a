// The page of somebody who was invited: one session, with what the invite allows, and nothing else.
import { beGuest, get, post } from "../api.js";
import { html, signal, useEffect, useState } from "../lib.js";
import { plain } from "../text.js";
import { browser } from "../storage.js";
import { attempt, ended, keepOpen, notice, refresh, sessions, titleOf } from "../store.js";
import { Follower } from "../transcript.js";
import { Composer } from "./composer.js";
import { sure } from "./dialog.js";
import { Age, State } from "./parts.js";
import { Notices } from "./notices.js";
import { PendingCards } from "./pending.js";
import { MAY } from "./share.js";
import { Transcript } from "./transcript.js";

const EVERY_MS = 3000;
const NAME = "jelmore.name";
const address = () => location.hash.match(/^#\/(join|guest)(?:\/([\w-]+))?$/);
let invite = "";

export function startAsGuest() {
  // Returns whether the page was opened by a link to one session. The link's text leaves the address at once.
  const [, place, text] = address() ?? [];
  if (!place) return false;
  beGuest();
  if (place === "join") {
    invite = text ?? "";
    history.replaceState(null, "", "#/join");
  }
  addEventListener("hashchange", () => address()?.[1] !== "guest" && location.reload());
  return true;
}

const here = signal(null); // the participant; undefined: without access

export function Guest() {
  const person = here.value;
  const id = address()?.[1] === "guest" && address()[2];
  useEffect(() => {
    if (id) look(id);
  }, [id]);
  if (!id) return html`<${Join} />`;
  if (person === undefined) return html`<main class="narrow door"><h1><img src="/ui/icon.svg" alt="" width="36" height="36" />Jelmore</h1><p class="notice" role="alert">You have no access to this
    session, or it has ended. Ask for another link.</p></main>`;
  if (person === null) return html`<p class="loading">Loading …</p>`;
  return html`<${Shared} key=${id} id=${id} person=${person} />`;
}

async function look(id) {
  try {
    here.value = await get(`/sessions/${id}/participants/me`);
  } catch (problem) {
    if ([401, 403, 404].includes(problem.status)) {
      sessions.value = new Map(); // nothing of it stays on the page
      here.value = undefined;
    }
  }
}

function Join() {
  const [name, setName] = useState(browser.get(NAME) ?? "");
  const submit = (event) => {
    event.preventDefault();
    attempt(async () => {
      const joined = await post("/invites/open", { invite, name: name.trim() });
      browser.set(NAME, name.trim());
      here.value = joined;
      history.replaceState(null, "", `#/guest/${joined.session_id}`);
    });
  };
  return html`<main class="narrow door"><h1><img src="/ui/icon.svg" alt="" width="36" height="36" />Jelmore</h1>${invite ? html`<form class="card form" onSubmit=${submit}>
      <p>Somebody shares a session with you.</p>
      <label>Your name<input required maxlength="128" autocomplete="name" value=${name} onInput=${(event) => setName(event.target.value)} autofocus /></label>
      <p class="hint">The people of the session see it.</p><button class="primary">Open the session</button></form>`
    : html`<p class="notice">Open the link again to join.</p>`}
    ${notice.value && html`<p class="notice" role="alert">${notice.value}</p>`}</main>`;
}

function Shared({ id, person }) {
  const [follower, setFollower] = useState(null);
  const session = sessions.value.get(id);
  useEffect(() => keepOpen(id), [id]);
  useEffect(() => {
    let [made, left] = [null, false];
    const begin = async () => {
      const found = await refresh(id);
      if (left || !found || made) return;
      made = new Follower(found);
      made.lost = () => look(id); // access that ends closes the stream within a second
      setFollower(made);
    };
    begin();
    const timer = setInterval(() => {
      look(id);
      if (made) refresh(id);
      else begin();
    }, EVERY_MS);
    return () => {
      left = true;
      clearInterval(timer);
      made?.close();
    };
  }, [id]);
  const leave = async () => (await sure("Leave?", "You give up your access to this session.", "Leave")) && attempt(async () => {
    await post(`/sessions/${id}/leave`);
    await look(id);
  });
  const title = session && plain(titleOf(session));
  useEffect(() => {
    document.title = title ? `${title} · Jelmore` : "Jelmore";
  }, [title]);
  if (!session || !follower) return html`<p class="loading">Loading …</p>`;
  const isOver = ended(session);
  return html`<main class="session"><header class="head"><h1>${title}</h1>
      <p class="facts"><${State} session=${session} /><span>Shared with ${plain(person.name)}: you may ${MAY[person.role]}</span>
        <${Age} at=${session.last_activity} /><button class="link" onClick=${leave}>Leave</button></p></header>
    <${Notices} />
    <${Transcript} follower=${follower} />
    ${person.role === "viewer" ? follower.pending.value.length > 0 && html`<p class="notice" role="status">It waits for an answer of somebody else.</p>`
      : html`<div class="asking" aria-live="polite"><${PendingCards} id=${id} pending=${follower.pending.value} edits=${person.role === "editor"} /></div>`}
    ${isOver ? html`<footer class="composer over"><span>The session has ended.</span></footer>`
      : person.role === "editor" && html`<${Composer} id=${id} follower=${follower} completes=${false} />`}</main>`;
}
