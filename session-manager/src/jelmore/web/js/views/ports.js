// The ports that listen in a session's sandbox, asked for when somebody opens the list. Each opens on an origin of its own.
import { get, post } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { plain } from "../markdown.js";
import { attempt } from "../store.js";
import { Age } from "./parts.js";

export function Ports({ id }) {
  const [found, setFound] = useState(null);
  const load = () => attempt(async () => setFound((await get(`/sessions/${id}/ports`)).ports));
  useEffect(() => {
    load();
  }, [id]);
  return html`<section class="ports" aria-label="Ports">${found === null ? html`<p class="loading">Loading …</p>`
    : found.length === 0 ? html`<p class="hint">No server of this session listens now.</p>`
    : html`<ul>${found.map((each) => html`<li key=${each.port}><button onClick=${() => openPort(id, each.port)}>Open ${each.port}</button>
        <code title=${each.command}>${plain(each.command)}</code>${each.since && html`<${Age} at=${each.since} />`}</li>`)}</ul>`}
    <button onClick=${load}>Reload ports</button></section>`;
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
