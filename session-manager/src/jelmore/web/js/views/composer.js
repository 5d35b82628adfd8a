// Where a person writes to a session: the draft, the queue, and comments on changes that go along.
import { newId, post } from "../api.js";
import { blockOf } from "../attachments.js";
import { commentsOf, setComments, written } from "../comments.js";
import { promptOf } from "../diff.js";
import { html, useEffect, useRef, useState } from "../lib.js";
import { plain } from "../text.js";
import { browser } from "../storage.js";
import { attempt, mayWrite, notice, refresh, sessions } from "../store.js";
import { UsedUp } from "./budget.js";
import { Suggestions, useCompletion } from "./completion.js";
import { sure } from "./dialog.js";
import { useOnce } from "./once.js";
import { Queue } from "./queue.js";

const narrow = matchMedia("(max-width: 40rem)");
const CLOSE_MS = 300; // what was pressed elsewhere must not move away under the finger

function useOpen(field) {
  // Returns whether somebody writes, and how the composer hears of it. On a phone its field has one line while nobody does. Only
  // the field itself opens it: a button of the composer that moved on the way would miss its click.
  const [open, setOpen] = useState(false);
  const timer = useRef(null);
  const enter = ({ target }) => {
    clearTimeout(timer.current);
    if (target === field.current) setOpen(true);
  };
  const leave = () => (timer.current = setTimeout(() => setOpen(false), CLOSE_MS));
  useEffect(() => () => clearTimeout(timer.current), []);
  return [open, { onFocusIn: enter, onFocusOut: leave }];
}

export function Composer({ id, follower, onSent, completes = true }) {
  const draft = `jelmore.draft.${id}`;
  const [text, setText] = useState(browser.get(draft) ?? "");
  const tried = useRef({}); // the last attempt: the same prompt keeps its id, so that it runs once
  const sending = useRef(new Set()); // prompts that have no answer yet: one that steers must not interrupt itself
  const [, once] = useOnce();
  const field = useRef(null);
  const [open, watched] = useOpen(field);
  const [attached, setAttached] = useState([]); // {name, block}; they live as long as the page
  const comments = written(commentsOf(id).value);
  const write = (typed) => {
    setText(typed);
    if (typed) browser.set(draft, typed);
    else browser.remove(draft);
  };
  const latest = useRef(text);
  latest.current = text;
  const completion = useCompletion(id, write);
  const attach = (files) => attempt(async () => {
    const made = [];
    for (const file of files) made.push({ id: newId(), name: file.name, block: await blockOf(file) });
    setAttached((before) => [...before, ...made]);
  });
  const paste = (event) => {
    if (event.clipboardData.files.length === 0) return;
    event.preventDefault();
    attach([...event.clipboardData.files]);
  };
  const drop = (event) => {
    event.preventDefault();
    attach([...event.dataTransfer.files]);
  };
  const session = sessions.value.get(id);
  const empty = !text.trim() && comments.length === 0 && attached.length === 0;
  const running = follower.running.value;
  const send = async ({ now = false } = {}) => {
    if (empty) return;
    const prompt = promptOf(text, comments);
    const input = attached.length === 0 ? prompt
      : [...(prompt.trim() ? [{ type: "text", text: prompt }] : []), ...attached.map((each) => each.block)];
    const body = { input, ...(typeof input === "string" && completion.expands(text) && { expand: true }) };
    const same = JSON.stringify(body);
    if (sending.current.has(same)) return;
    sending.current.add(same);
    if (tried.current.same !== same) tried.current = { same, id: newId() };
    const sent = await attempt(() => post(`/sessions/${id}/input`, { ...body, id: tried.current.id }));
    sending.current.delete(same);
    if (!sent) return;
    tried.current = {};
    if (sent.waking) follower.askQueue(); // no event says so before the session is resumed
    if (latest.current === text) write(""); // what was written meanwhile is the next prompt
    setAttached((before) => before.filter((each) => !attached.includes(each)));
    const gone = new Set(comments.map((each) => each.id));
    setComments(id, commentsOf(id).value.filter((each) => !gone.has(each.id)));
    onSent?.();
    if (now) await attempt(() => post(`/sessions/${id}/interrupt`));
  };
  const key = (event) => {
    if (completion.key(event, text)) return;
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send({ now: event.ctrlKey || event.metaKey });
    } else if (event.key === "Escape" && running && !event.repeat) {
      once(() => attempt(() => post(`/sessions/${id}/interrupt`)));
    }
  };
  const leave = (event) => !event.relatedTarget?.closest?.(".suggestions") && completion.close();
  const discard = async () => (await sure("Discard the comments?", "They were not sent.", "Discard")) && setComments(id, []);
  const left = (edited) => {
    const kept = browser.get(draft);
    write(kept ? `${kept}\n\n${edited}` : edited);
    notice.value = "The agent has begun with the prompt that you were changing. Your text is in the field below.";
  };
  const steers = running && follower.queued.value.length === 0;
  return html`<footer class=${`composer ${open ? "open" : ""}`} ...${watched} onDragOver=${(event) => event.preventDefault()} onDrop=${drop}>${session?.waiting_for === "budget"
    && html`<${UsedUp} session=${session} />`}<${Queue} id=${id} follower=${follower} onLeft=${left} />
    ${comments.length > 0 && html`<p class="along" role="status">${comments.length === 1 ? "1 comment goes" : `${comments.length} comments go`} along
      <button class="link" onClick=${discard}>Discard</button></p>`}
    ${attached.length > 0 && html`<ul class="attached" aria-label="Attached files">${attached.map((each) => html`<li key=${each.id}>${plain(each.name)}
      <button class="link" aria-label=${`Remove ${plain(each.name)}`} onClick=${() => setAttached(attached.filter((other) => other !== each))}>✕</button></li>`)}</ul>`}
    <${Suggestions} completion=${completion} text=${text} onChosen=${() => field.current.focus()} />
    <div class="line"><textarea rows="2" ref=${field} aria-label="Prompt" value=${text} onKeyDown=${key} onPaste=${paste} onBlur=${leave}
      onInput=${(event) => {
        write(event.target.value);
        if (completes) completion.look(event.target.value, event.target.selectionStart);
      }}
      placeholder=${running ? (narrow.matches ? "Next prompt" : "Queue a prompt …") : narrow.matches ? "Prompt" : "Prompt (Enter sends, Shift+Enter for a new line)"}></textarea>
      <label class="attach" title="Attach files, also by paste and drop"><span aria-hidden="true">+</span><input type="file" multiple aria-label="Attach files"
        onChange=${(event) => {
          attach([...event.target.files]);
          event.target.value = "";
        }} /></label>
      ${steers && html`<button disabled=${empty} onClick=${() => send({ now: true })}
        title="Interrupt the turn and go on with this (Ctrl+Enter)">Steer</button>`}
      <button class="primary" disabled=${empty} onClick=${() => send()}>${running ? "Queue" : "Send"}</button></div></footer>`;
}

export function Over({ session, follower }) {
  const [busy, once] = useOnce();
  const reason = session.failure?.error ?? session.end_reason;
  return html`<footer class="composer over"><${Queue} id=${session.id} follower=${follower} onLeft=${() => {}} /><span>The session has ended${reason && reason !== "deleted" ? `: ${reason}` : ""}.</span>
    ${mayWrite() && html`<button aria-disabled=${busy} onClick=${() => once(() => attempt(async () => {
      await post(`/sessions/${session.id}/resume`);
      await refresh(session.id);
    }))}>Resume</button>`}</footer>`;
}

// In place of the composer, for somebody who may only look.
export const Looking = ({ id, follower }) => html`<footer class="composer"><${Queue} id=${id} follower=${follower} />
  <p class="note">You may look at this session, not write to it.</p></footer>`;
