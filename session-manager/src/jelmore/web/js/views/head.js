// What a session is and does at a glance, and what can be done with it as a whole.
import { call, post } from "../api.js";
import { html, useState } from "../lib.js";
import { plain } from "../text.js";
import { attempt, change, ended, mayWrite, shortId, titleOf } from "../store.js";
import { sure } from "./dialog.js";
import { Editor, useEditing } from "./editor.js";
import { useOnce } from "./once.js";
import { Age, People, State, dollars } from "./parts.js";
import { Ports } from "./ports.js";
import { Share } from "./share.js";

const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

export function Head({ session, follower }) {
  const id = session.id;
  const [ports, setPorts] = useState(false);
  const [share, setShare] = useState(false);
  const writes = mayWrite();
  const [busy, once] = useOnce(); // a second interrupt would stop the next prompt
  const end = async () => (await sure("End this session?", "Its output and workspace stay.", "End it")) && attempt(() => call("DELETE", `/sessions/${id}`));
  const origin = session.forked_from?.session_id ?? session.base;
  const usage = session.usage;
  const used = usage.input_tokens + usage.output_tokens;
  return html`<header class="head"><${Title} session=${session} />
    <p class="facts"><${State} session=${session} /><span class="id">${shortId(id)}</span>
      ${session.model && html`<span>${session.model}</span>`}${session.permission_mode !== "default" && html`<span>${session.permission_mode}</span>`}
      ${session.repository && html`<span title=${session.repository.url}>${plain(session.repository.branch ?? session.repository.ref ?? "repository")}</span>`}
      ${origin && html`<a href=${`#/s/${origin}`} title="It began with the ${session.forked_from ? "conversation and the workspace" : "workspace"} of this session">from ${shortId(origin)}</a>`}
      <span class="pill" title=${`${used.toLocaleString()} input and output tokens in all`}>${follower.context.value > 0
        && html`${short.format(follower.context.value)} context · `}${short.format(used)} tokens · ${dollars(usage.cost_usd)}</span>
      <${Age} at=${session.last_activity} /><${People} people=${follower.people.value} more=${follower.more.value} /></p>
    ${writes && html`<p class="buttons">${follower.running.value && html`<button aria-disabled=${busy}
        onClick=${() => once(() => attempt(() => post(`/sessions/${id}/interrupt`)))}>Interrupt</button>`}
      <button onClick=${() => change(id, { pinned: !session.pinned })}>${session.pinned ? "Unpin" : "Pin"}</button>
      <button onClick=${() => change(id, { archived: !session.archived })}>${session.archived ? "Unarchive" : "Archive"}</button>
      <button aria-haspopup="dialog" onClick=${() => setShare(true)}>Share</button>
      ${!ended(session) && html`<button aria-haspopup="dialog" onClick=${() => setPorts(true)}>Ports</button>
        <button class="danger" onClick=${end}>End</button>`}</p>`}
    ${share && html`<${Share} id=${id} onClose=${() => setShare(false)} />`}
    ${ports && html`<${Ports} id=${id} onClose=${() => setPorts(false)} />`}</header>`;
}

function Title({ session }) {
  const [editing, setEditing, button] = useEditing();
  const title = plain(titleOf(session));
  if (editing) {
    return html`<h1 class="unseen">${title}</h1><${Editor} label="Title" rows=${title.length > 30 ? 2 : 1} value=${titleOf(session)} onClose=${() => setEditing(false)}
      onSave=${async (text) => (await change(session.id, { title: text })) !== undefined} />`;
  }
  return html`<h1>${mayWrite() ? html`<button class="link" ref=${button} onClick=${() => setEditing(true)} title="Rename">${title}</button>` : title}</h1>`;
}
