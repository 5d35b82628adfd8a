// Where a person writes to a session: the draft, the queue, and comments on changes that go along.
import { call, newId, post } from "../api.js";
import { commentsOf, setComments, written } from "../comments.js";
import { promptOf } from "../diff.js";
import { html, useRef, useState } from "../lib.js";
import { plain } from "../markdown.js";
import { attempt, refresh } from "../store.js";

export function Composer({ id, follower, onSent }) {
  const draft = `jelmore.draft.${id}`;
  const [text, setText] = useState(localStorage.getItem(draft) ?? "");
  const tried = useRef({}); // the last attempt: the same prompt keeps its id, so that it runs once
  const comments = written(commentsOf(id).value);
  const write = (typed) => {
    setText(typed);
    if (typed) localStorage.setItem(draft, typed);
    else localStorage.removeItem(draft);
  };
  const empty = !text.trim() && comments.length === 0;
  const running = follower.running.value;
  const send = async ({ now = false } = {}) => {
    if (empty) return;
    const prompt = promptOf(text, comments);
    if (tried.current.prompt !== prompt) tried.current = { prompt, id: newId() };
    const sent = await attempt(() => post(`/sessions/${id}/input`, { input: prompt, id: tried.current.id }));
    if (!sent) return;
    tried.current = {};
    write("");
    const gone = new Set(comments.map((each) => each.id));
    setComments(id, commentsOf(id).value.filter((each) => !gone.has(each.id)));
    onSent?.();
    if (now) await attempt(() => post(`/sessions/${id}/interrupt`));
  };
  const key = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send({ now: event.ctrlKey || event.metaKey });
    } else if (event.key === "Escape" && running) {
      attempt(() => post(`/sessions/${id}/interrupt`));
    }
  };
  const steers = running && follower.queued.value.length === 0;
  return html`<footer class="composer"><${Queue} id=${id} queued=${follower.queued.value} />
    ${comments.length > 0 && html`<p class="along" role="status">${comments.length === 1 ? "1 comment goes" : `${comments.length} comments go`} along
      <button class="link" onClick=${() => confirm("Discard the comments?") && setComments(id, [])}>Discard</button></p>`}
    <div class="line"><textarea rows="2" aria-label="Prompt" value=${text} onKeyDown=${key}
      onInput=${(event) => write(event.target.value)}
      placeholder=${running ? "Queue a prompt …" : "Prompt (Enter sends, Shift+Enter for a new line)"}></textarea>
      ${steers && html`<button disabled=${empty} onClick=${() => send({ now: true })}
        title="Interrupt the turn and go on with this (Ctrl+Enter)">Steer</button>`}
      <button class="primary" disabled=${empty} onClick=${() => send()}>${running ? "Queue" : "Send"}</button></div></footer>`;
}

function Queue({ id, queued }) {
  const path = (each) => `/sessions/${id}/queue/${encodeURIComponent(each.id)}`;
  const edit = (each) => {
    const text = prompt("Queued prompt", each.text);
    if (text?.trim()) attempt(() => call("PATCH", path(each), { input: text }));
  };
  return queued.length > 0 && html`<ol class="queue" aria-label="Queued prompts">${queued.map((each) => html`<li key=${each.id}>
    <span>${plain(each.text)}</span><button class="link" onClick=${() => edit(each)}>Edit</button>
    <button class="link" onClick=${() => attempt(() => call("DELETE", path(each)))}>Cancel</button></li>`)}</ol>`;
}

export function Over({ session }) {
  const reason = session.failure?.error ?? session.end_reason;
  return html`<footer class="composer over"><span>The session has ended${reason ? `: ${reason}` : ""}.</span>
    <button onClick=${() => attempt(async () => {
      await post(`/sessions/${session.id}/resume`);
      await refresh(session.id);
    })}>Resume</button></footer>`;
}
