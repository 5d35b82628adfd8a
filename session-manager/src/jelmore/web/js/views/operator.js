// The installation as a whole: health, slots, lags, the model's credential, drain, clean-up, keys, and who did what.
import { call, get, post } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { plain } from "../text.js";
import { attempt, look } from "../store.js";
import { Audit } from "./audit.js";
import { sure } from "./dialog.js";
import { Keys } from "./keys.js";
import { useOnce } from "./once.js";
import { Age, size } from "./parts.js";

const EVERY_MS = 5000;
const STATUSES = { initializing: "starting", active: "working", waiting_input: "waiting for input", idle: "paused or hibernated", terminated: "ended" };
const seconds = (value) => (value === undefined || value === null ? "–" : `${Math.round(value)} s`);

export function Operator() {
  const [health, setHealth] = useState(null);
  const [stats, setStats] = useState(null);
  const [drain, setDrain] = useState(null);
  useEffect(() => {
    const read = () => look(async () => {
      setStats(await get("/sessions/stats"));
      setHealth(await get("/health"));
      setDrain(await get("/admin/drain"));
    });
    read();
    const timer = setInterval(read, EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  return html`<main><h1>Operator</h1>
    <${Health} health=${health} /><${Load} stats=${stats} health=${health} /><${Drain} drain=${drain} setDrain=${setDrain} />
    <${CleanUp} /><${Keys} /><${Audit} /></main>`;
}

function Health({ health }) {
  const [model, setModel] = useState(null);
  const ask = () => attempt(async () => {
    setModel("asking …");
    try {
      setModel(modelText(await get("/admin/model")));
    } catch (problem) {
      setModel(null);
      throw problem;
    }
  });
  return html`<section class="card"><h2>Health</h2>${health && html`<p><b>${health.status}</b> ${health.version}</p>
    <table><tbody>${Object.entries(health.checks ?? {}).map(([name, check]) => html`<tr key=${name}><th scope="row">${name}</th>
      <td>${check?.status ?? String(check)}</td><td>${check?.error ?? check?.message ?? ""}</td></tr>`)}</tbody></table>
    <p class="buttons"><button onClick=${ask}>Check the model's credential</button><span role="status">${model}</span></p>`}</section>`;
}

function modelText(found) {
  if (found.accepted) return `${found.server} ${found.credential ? "accepts the credential" : "answers; no credential is set"}`;
  return found.problem;
}

function Load({ stats, health }) {
  if (!stats) return null;
  const { slots, pool, outbox, disk, resources } = stats;
  const loops = Object.entries(health?.loops ?? {}).filter(([, loop]) => "running" in loop);
  const bad = loops.filter(([, loop]) => !loop.running || loop.restarts > 0);
  const facts = [
    ["Slots", `${slots?.used} of ${slots?.total} in use`],
    ["Sessions", `${stats.total} in all`],
    ...Object.entries(stats.by_status ?? {}).filter(([, count]) => count > 0).map(([name, count]) => [`… ${STATUSES[name] ?? name}`, count]),
    ["Warm pool", pool?.size ? `${pool.ready} of ${pool.size} ready, ${pool.starting} starting` : "off"],
    ["Memory of sessions", size(resources?.memory_bytes ?? 0)],
    ["Workspaces", size(resources?.workspace_bytes ?? 0)],
    ["Free disk", `${size(disk?.free_bytes ?? 0)}, at least ${size(disk?.floor_bytes ?? 0)} is kept`],
    ["Sessions to reconcile", health?.loops?.reconcile?.depth ?? "–"],
    ["Events to publish", outbox?.waiting ?? "–"],
    ["Last probe, last sweep", `${seconds(health?.loops?.probes?.last_run_age_s)} ago, ${seconds(health?.loops?.sweep?.last_run_age_s)} ago`],
    ["Loops", bad.length === 0 ? `${loops.length} run` : bad.map(([name, loop]) => `${name}: ${loop.running ? `${loop.restarts} restarts` : "stopped"}`).join(", ")],
  ];
  return html`<section class="card"><h2>Load and lags</h2><table><tbody>${facts.map(([name, value]) => html`<tr key=${name}>
    <th scope="row">${name}</th><td>${value}</td></tr>`)}</tbody></table></section>`;
}

function Drain({ drain, setDrain }) {
  if (!drain) return null;
  // For two seconds another manager may not know of the drain yet.
  const act = (method) => attempt(async () => setDrain(await call(method, method === "POST" ? "/admin/drain?wait=3" : "/admin/drain")));
  const begin = async () => (await sure("Drain?", "No manager accepts new sessions and prompts until this is undone.", "Drain")) && act("POST");
  return html`<section class="card"><h2>Drain</h2>
    <p role="status">${!drain.draining ? "New sessions and prompts are accepted." : html`Nothing new is accepted, since <${Age} at=${drain.since} /> (${plain(drain.by)}).
      ${drain.drained ? " No turn runs." : ` ${drain.active_turns} turns run or are about to begin.`}`}</p>
    <p class="buttons">${drain.draining ? html`<button onClick=${() => act("DELETE")}>Accept again</button>`
      : html`<button class="danger" onClick=${begin}>Drain</button>`}</p></section>`;
}

function CleanUp() {
  const [report, setReport] = useState(null);
  const [busy, once] = useOnce();
  const sweep = (dry) => once(() => attempt(async () => setReport(await post(`/cleanup?dry_run=${dry}`))));
  const clean = async () => (await sure("Clean up?", "What the sweep finds is removed for good.", "Clean up")) && sweep(false);
  const removed = report && Object.values(report.removed ?? {}).reduce((sum, each) => sum + each, 0);
  return html`<section class="card"><h2>Clean up</h2><p class="buttons"><button aria-disabled=${busy} onClick=${() => sweep(true)}>Show what would be removed</button>
      <button class="danger" onClick=${clean}>Clean up</button></p>
    ${report && html`<div role="status"><p>${report.dry_run ? `${report.entries.length} found; nothing was removed.` : `${removed} removed.`}</p>
      ${report.entries.length > 0 && html`<div class="wide" tabindex="0"><table><thead><tr><th>Kind</th><th>Name</th><th>Action</th><th>Why</th></tr></thead>
        <tbody>${report.entries.map((each) => html`<tr><td>${each.kind}</td><td>${plain(each.name)}</td><td>${each.action}</td>
          <td>${each.why}</td></tr>`)}</tbody></table></div>`}
      ${(report.skipped ?? []).map((each) => html`<p class="hint">Not looked at: ${each}</p>`)}</div>`}</section>`;
}
