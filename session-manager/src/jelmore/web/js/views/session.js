// One session: transcript, what waits, and the composer.
import { call, get, newId, post } from "../api.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib.js";
import { Markdown, plain } from "../markdown.js";
import { attempt, ended, refresh, sessions, shortId, titleOf } from "../store.js";
import { Follower } from "../transcript.js";
import { Files } from "./files.js";
import { Age, State } from "./parts.js";
import { PendingCards } from "./pending.js";
import { ToolCard } from "./tool.js";

const WINDOW = 200;
const NEAR_END_PX = 80;

export function SessionPage({ id }) {
  const [follower, setFollower] = useState(null);
  const [missing, setMissing] = useState(false);
  const [tab, setTab] = useState("conversation");
  const session = sessions.value.get(id);
  const isOver = session && ended(session);
  useEffect(() => {
    refresh(id).then((found) => setMissing(found === null));
    const made = new Follower(id);
    setFollower(made);
    return () => made.close();
  }, [id, isOver]);
  if (missing && !session) return html`<main><p class="notice">There is no session ${plain(id)}, or you may not see it.</p></main>`;
  if (!session || !follower) return html`<p class="loading">Loading …</p>`;
  return html`<main class="session"><${Head} session=${session} running=${follower.running.value} />
    <nav class="tabs" aria-label="Parts of the session">${["conversation", "files"].map((name) => html`<button
      aria-current=${tab === name ? "page" : undefined} onClick=${() => setTab(name)}>${name}</button>`)}</nav>
    ${tab === "files" ? html`<${Files} id=${id} />` : html`<${Transcript} follower=${follower} />`}
    <${PendingCards} id=${id} pending=${follower.pending.value} />
    ${isOver ? html`<${Over} session=${session} />` : html`<${Composer} id=${id} follower=${follower} />`}</main>`;
}

function Head({ session, running }) {
  const change = (changes) => attempt(async () => {
    await call("PATCH", `/sessions/${session.id}`, changes);
    await refresh(session.id);
  });
  const rename = () => {
    const title = prompt("Title", titleOf(session));
    if (title?.trim()) change({ title: title.trim() });
  };
  const usage = session.usage;
  return html`<header class="head"><h1><button class="link" onClick=${rename} title="Rename">${titleOf(session)}</button></h1>
    <p class="facts"><${State} session=${session} /><span>${shortId(session.id)}</span>
      ${session.model && html`<span>${session.model}</span>`}<span>${session.permission_mode}</span>
      <span title="input and output tokens">${(usage.input_tokens + usage.output_tokens).toLocaleString()} tokens</span>
      <span>$${usage.cost_usd.toFixed(4)}</span><${Age} at=${session.last_activity} /></p>
    <p class="buttons"><button onClick=${() => change({ pinned: !session.pinned })}>${session.pinned ? "Unpin" : "Pin"}</button>
      ${running && html`<button onClick=${() => attempt(() => post(`/sessions/${session.id}/interrupt`))}>Interrupt</button>`}
      ${!ended(session) && html`<button class="danger" onClick=${() => confirm("End this session? Its output and workspace stay.")
        && attempt(() => call("DELETE", `/sessions/${session.id}`))}>End</button>`}</p></header>`;
}

function Transcript({ follower }) {
  const rows = follower.rows.value;
  const [first, setFirst] = useState(null); // null: the newest rows; else the index of the first row that is shown
  const end = useRef(null);
  const pinned = useRef(true);
  const start = first ?? Math.max(0, rows.length - WINDOW);
  useEffect(() => {
    const scroll = () => {
      pinned.current = innerHeight + scrollY >= document.documentElement.scrollHeight - NEAR_END_PX;
    };
    addEventListener("scroll", scroll, { passive: true });
    return () => removeEventListener("scroll", scroll);
  }, []);
  useLayoutEffect(() => {
    if (pinned.current) end.current?.scrollIntoView({ block: "end" });
  }, [rows.length, follower.growing.value, follower.pending.value.length]);
  const shown = rows.slice(start, first === null ? undefined : start + WINDOW);
  return html`<section class="transcript" aria-label="Transcript" aria-live="polite">
    ${start > 0 && html`<button class="more" onClick=${() => setFirst(Math.max(0, start - WINDOW))}>${start} earlier entries</button>`}
    ${shown.map((row) => html`<${Row} key=${row.key} row=${row} />`)}
    ${first !== null && start + WINDOW < rows.length && html`<button class="more" onClick=${() =>
      setFirst(start + 2 * WINDOW >= rows.length ? null : start + WINDOW)}>later entries</button>`}
    ${follower.growing.value && html`<div class="said growing">${plain(follower.growing.value)}</div>`}
    <div ref=${end} class="anchor"></div></section>`;
}

function Row({ row }) {
  switch (row.type) {
    case "user":
      return html`<div class=${`user ${row.cancelled ? "cancelled" : ""}`} title=${row.by}>${plain(row.text)}</div>`;
    case "assistant":
      return html`<div class=${`said ${row.child ? "child" : ""}`}><${Markdown} text=${row.text} /></div>`;
    case "thinking":
      return html`<details class="thinking"><summary>Thinking</summary>${plain(row.text)}</details>`;
    case "tool":
      return html`<${ToolCard} row=${row} />`;
    case "end":
      return html`<p class="note end">${endText(row.data)}</p>`;
    default:
      return html`<p class=${row.type}>${plain(row.text)}</p>`;
  }
}

function endText(data) {
  const tokens = (data.usage?.input_tokens ?? 0) + (data.usage?.output_tokens ?? 0);
  return [data.outcome !== "completed" && `failed: ${data.subtype}`, data.duration_ms && `${(data.duration_ms / 1000).toFixed(1)} s`,
    tokens && `${tokens.toLocaleString()} tokens`, data.cost_usd && `$${data.cost_usd.toFixed(4)}`].filter(Boolean).join(" · ");
}

function Composer({ id, follower }) {
  const draft = `jelmore.draft.${id}`;
  const [text, setText] = useState(localStorage.getItem(draft) ?? "");
  const [inputId, setInputId] = useState(newId);
  const write = (written) => {
    setText(written);
    if (written) localStorage.setItem(draft, written);
    else localStorage.removeItem(draft);
  };
  const send = async () => {
    if (!text.trim()) return;
    const sent = await attempt(() => post(`/sessions/${id}/input`, { input: text, id: inputId }));
    if (!sent) return;
    write("");
    setInputId(newId());
  };
  const key = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape" && follower.running.value) {
      attempt(() => post(`/sessions/${id}/interrupt`));
    }
  };
  return html`<footer class="composer"><${Queue} id=${id} queued=${follower.queued.value} />
    <div class="line"><textarea rows="2" aria-label="Prompt" value=${text} onKeyDown=${key}
      onInput=${(event) => write(event.target.value)}
      placeholder=${follower.running.value ? "Queue a prompt …" : "Prompt (Enter sends, Shift+Enter for a new line)"}></textarea>
      <button class="primary" disabled=${!text.trim()} onClick=${send}>${follower.running.value ? "Queue" : "Send"}</button></div></footer>`;
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

function Over({ session }) {
  const reason = session.failure?.error ?? session.end_reason;
  return html`<footer class="composer over"><span>The session has ended${reason ? `: ${reason}` : ""}.</span>
    <button onClick=${() => attempt(async () => {
      await post(`/sessions/${session.id}/resume`);
      await refresh(session.id);
    })}>Resume</button></footer>`;
}
