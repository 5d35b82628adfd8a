// What can be changed while a session runs, and the MCP servers of its agent.
import { call, get, post } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { plain } from "../text.js";
import { attempt, change, ended, mayWrite } from "../store.js";

export const MODES = ["default", "acceptEdits", "plan", "bypassPermissions", "dontAsk"];
export const EFFORTS = ["low", "medium", "high", "xhigh", "max"];
const TAG_SPLIT = /[\s,]+/;

export function Settings({ session }) {
  const id = session.id;
  const fixed = ended(session) || !mayWrite();
  const set = (name, ready = (value) => value) => (event) => change(id, { [name]: ready(event.target.value.trim()) });
  return html`<section class="settings" aria-label="Settings"><div class="card form">
      <div class="columns">
        <label>Model<${Field} value=${session.model ?? ""} placeholder="default" disabled=${fixed}
          onSet=${(event) => event.target.value.trim() && set("model")(event)} /></label>
        <label>Effort<select disabled=${fixed} onChange=${set("effort")}>
          ${!session.options.effort && html`<option value="" selected>default</option>`}
          ${EFFORTS.map((each) => html`<option value=${each} selected=${session.options.effort === each}>${each}</option>`)}</select></label>
        <label>Permissions<select disabled=${fixed} onChange=${set("permission_mode")}>
          ${MODES.map((each) => html`<option value=${each} selected=${session.permission_mode === each}>${each}</option>`)}</select></label></div>
      <div class="columns"><label>Budget in US dollars<${Field} type="number" inputmode="decimal" min="0" max="1000000" step="any" value=${session.budget_usd ?? ""}
          placeholder="none" disabled=${fixed} onSet=${(event) => Number(event.target.value) > 0 && set("budget_usd", Number)(event)} /></label></div>
      <label>Tags<${Field} value=${session.tags.join(", ")} placeholder="none" disabled=${!mayWrite()}
        onSet=${set("tags", (text) => [...new Set(text.split(TAG_SPLIT).filter(Boolean))])} /></label>
      ${!fixed && html`<p class="hint">Changes take effect at once, also in a running turn.</p>`}</div>
    <${Servers} session=${session} /></section>`;
}

function Field({ value, onSet, ...more }) {
  // An input whose text stays while it is written, whatever the session becomes meanwhile.
  const [draft, setDraft] = useState(null);
  const commit = async (event) => {
    await onSet(event);
    setDraft(null);
  };
  return html`<input ...${more} autocapitalize="off" value=${draft ?? value} onInput=${(event) => setDraft(event.target.value)}
    onChange=${commit} onBlur=${() => draft === value && setDraft(null)} />`;
}

function Servers({ session }) {
  const base = `/sessions/${session.id}/mcp`;
  const [servers, setServers] = useState(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    get(base).then((found) => setServers(found.servers), (refused) => setProblem(refused.message));
  }, [session.id, session.presence]);
  const act = (call) => attempt(async () => setServers((await call()).servers));
  const path = (each) => `${base}/${encodeURIComponent(each.name)}`;
  return html`<div class="card"><h2>MCP servers</h2>
    ${servers === null ? html`<p class="hint">${problem || "Loading …"}</p>` : servers.length === 0 && html`<p class="hint">The agent has none.</p>`}
    <ul class="list">${(servers ?? []).map((each) => html`<li key=${each.name} class="server"><span><b>${plain(each.name)}</b> ${plain(each.status)}
        ${each.error && html`<span class="error">${plain(each.error)}</span>`}
        <small>${each.tools.length === 1 ? "1 tool" : `${each.tools.length} tools`}</small></span>
      ${mayWrite() && html`<span class="buttons">${each.status === "disabled"
        ? html`<button onClick=${() => act(() => call("PATCH", path(each), { enabled: true }))}>Switch on</button>`
        : html`<button onClick=${() => act(() => post(`${path(each)}/reconnect`))}>Reconnect</button>
          <button onClick=${() => act(() => call("PATCH", path(each), { enabled: false }))}>Switch off</button>`}</span>`}</li>`)}</ul></div>`;
}
