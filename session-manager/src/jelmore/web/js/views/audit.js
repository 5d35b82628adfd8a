// Who did what, from where: the newest entries of the audit log.
import { get } from "../api.js";
import { now } from "../clock.js";
import { html, useState } from "../lib.js";
import { plain } from "../text.js";
import { attempt } from "../store.js";

const SPANS = [["hour", 3_600_000], ["day", 86_400_000], ["week", 604_800_000]];
const [PAGE, MOST_PAGES, SHOWN] = [1000, 20, 200];

async function newest(spanMs) {
  // The log is read in its order, so the newest entries are at the end of the pages.
  const since = new Date(now() - spanMs).toISOString();
  let [after, found] = [0, []];
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const entries = await get(`/admin/audit?since=${encodeURIComponent(since)}&after=${after}&limit=${PAGE}`);
    found = [...found, ...entries].slice(-SHOWN);
    if (entries.length < PAGE) break;
    after = entries.at(-1).id;
  }
  return found.reverse();
}

export function Audit() {
  const [entries, setEntries] = useState(null);
  const load = (spanMs) => attempt(async () => setEntries(await newest(spanMs)));
  return html`<section class="card" aria-label="Audit"><h2>Audit</h2>
    <p class="buttons" role="group" aria-label="Who did what">${SPANS.map(([name, spanMs]) => html`<button key=${name} onClick=${() => load(spanMs)}>Last ${name}</button>`)}</p>
    ${entries && (entries.length === 0 ? html`<p class="hint">Nothing was changed.</p>` : html`<div class="wide audit" tabindex="0" role="region" aria-label="Entries">
      <table><thead><tr><th>When</th><th>Who</th><th>What</th><th>Outcome</th><th>From</th></tr></thead><tbody>${entries.map((each) => html`<tr key=${each.id}>
        <td><time datetime=${each.at}>${new Date(each.at).toLocaleString()}</time></td><td>${plain(each.actor_name)}</td>
        <td title=${plain(each.target)}>${each.action}</td><td>${each.outcome}</td><td>${plain(each.remote)}</td></tr>`)}</tbody></table></div>`)}
    ${entries?.length === SHOWN && html`<p class="hint">The newest ${SHOWN}. <code>GET /api/v1/admin/audit</code> has all.</p>`}</section>`;
}
