// The installation as a whole: health, slots, and what a clean-up would remove.
import { get, post } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { attempt } from "../store.js";

const EVERY_MS = 5000;

export function Operator() {
  const [health, setHealth] = useState(null);
  const [stats, setStats] = useState(null);
  const [report, setReport] = useState(null);
  useEffect(() => {
    const look = () => attempt(async () => {
      setStats(await get("/sessions/stats"));
      setHealth(await get("/health"));
    });
    look();
    const timer = setInterval(look, EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  const sweep = (dry) => attempt(async () => setReport(await post(`/cleanup?dry_run=${dry}`)));
  return html`<main><h1>Operator</h1>
    <section class="card"><h2>Health</h2>${health && html`<p><b>${health.status}</b> ${health.version}</p>
      <table><tbody>${Object.entries(health.checks ?? {}).map(([name, check]) => html`<tr><th>${name}</th>
        <td>${check?.status ?? String(check)}</td><td>${check?.error ?? check?.message ?? ""}</td></tr>`)}</tbody></table>`}</section>
    <section class="card"><h2>Sessions</h2>${stats && html`<p>${stats.slots?.used} of ${stats.slots?.total} slots in use, ${stats.total} sessions in all</p><table><tbody>${Object.entries(stats.by_status ?? {}).map(
        ([name, count]) => html`<tr><th>${name}</th><td>${count}</td></tr>`)}</tbody></table>`}</section>
    <section class="card"><h2>Clean up</h2><p class="buttons"><button onClick=${() => sweep(true)}>Show what would be removed</button>
      <button class="danger" onClick=${() => confirm("Remove what the sweep finds?") && sweep(false)}>Clean up</button></p>
      ${report && html`<pre class="code" tabindex="0">${JSON.stringify(report, null, 2)}</pre>`}</section></main>`;
}
