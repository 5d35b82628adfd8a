// The ports that listen in a session's sandbox, asked for when somebody opens the list. Each opens on an origin of its own.
import { get, post } from "../api.js";
import { html } from "../lib.js";
import { plain } from "../text.js";
import { attempt } from "../store.js";
import { Panel } from "./dialog.js";
import { Loading, useLoaded } from "./loaded.js";
import { Age } from "./parts.js";

export function Ports({ id, onClose }) {
  const listing = useLoaded(async () => (await get(`/sessions/${id}/ports`)).ports, [id]);
  const { found, problem, load } = listing;
  return html`<${Panel} title="Ports" onClose=${onClose}>${found === null || problem ? html`<${Loading} of=${listing} />` : found.length === 0 ? html`<p class="hint">No server of this session listens now. Start one in the session or in its terminal.</p>`
    : html`<ul class="ports">${found.map((each) => html`<li key=${each.port}><span><b>${each.port}</b>${each.since && html`<span class="hint">for ${" "}<${Age} at=${each.since} /></span>`}<code title=${each.command}>${plain(each.command)}</code></span>
        <button aria-label=${`Open ${each.port}`} onClick=${() => openPort(id, each.port)}>Open</button></li>`)}</ul>`}
    ${found !== null && !problem && html`<p class="buttons end"><button onClick=${load}>Look again</button></p>`}<//>`;
}

async function openPort(id, port) {
  // The window opens with the click; after an answer of the server a browser would take it for an advertisement.
  const page = window.open("about:blank");
  const made = await attempt(() => post(`/sessions/${id}/ports/${port}/links`, {}));
  if (!page) return;
  if (!made?.url) return page.close();
  page.opener = null;
  page.location.replace(made.url);
}
