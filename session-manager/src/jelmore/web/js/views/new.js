// Start a session.
import { call, get, newId } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { attempt, remember } from "../store.js";
import { EFFORTS, MODES } from "./settings.js";

const DRAFT = "jelmore.draft.new";

export function NewSession() {
  const [prompt, setPrompt] = useState(localStorage.getItem(DRAFT) ?? "");
  const [more, setMore] = useState({});
  const [profiles, setProfiles] = useState([]);
  const [busy, setBusy] = useState(false);
  const [key] = useState(newId);
  const write = (written) => {
    setPrompt(written);
    localStorage.setItem(DRAFT, written);
  };
  useEffect(() => {
    get("/profiles").then((found) => setProfiles(found.profiles ?? []), () => setProfiles([]));
  }, []);
  const set = (name) => (event) => setMore({ ...more, [name]: event.target.value });
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    const filled = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value));
    const { url, ref, depth, credential, tags, ...rest } = filled(more);
    const given = { ...rest, ...(tags && { tags: tags.split(/[\s,]+/).filter(Boolean) }),
      ...(url && { repository: filled({ url, ref, depth: Number(depth) || 0, credential }) }) };
    const created = await attempt(() => call("POST", "/sessions", { ...given, ...(prompt.trim() && { query: prompt }) },
      { "Idempotency-Key": key }));
    setBusy(false);
    if (!created) return;
    localStorage.removeItem(DRAFT);
    remember(created);
    location.hash = `/s/${created.id}`;
  };
  return html`<main class="narrow"><h1>New session</h1><form class="card form" onSubmit=${submit}>
    <label>First prompt<textarea rows="5" autofocus value=${prompt} onInput=${(event) => write(event.target.value)}
      placeholder="What is to be done? May be left empty."></textarea></label>
    <label>Title<input value=${more.title ?? ""} onInput=${set("title")} /></label>
    <div class="columns"><label>Model<input value=${more.model ?? ""} onInput=${set("model")} placeholder="default" /></label>
      <label>Permissions<select value=${more.permission_mode ?? ""} onChange=${set("permission_mode")}><option value="">default</option>
        ${MODES.slice(1).map((mode) => html`<option value=${mode}>${mode}</option>`)}</select></label>
      <label>Effort<select value=${more.effort ?? ""} onChange=${set("effort")}><option value="">default</option>
        ${EFFORTS.map((each) => html`<option value=${each}>${each}</option>`)}</select></label>
      <label>Tags<input value=${more.tags ?? ""} onInput=${set("tags")} placeholder="none" autocapitalize="off" /></label>
      ${profiles.length > 0 && html`<label>Profile<select onChange=${set("profile")}><option value="">default</option>
        ${profiles.map((each) => html`<option value=${each.name}>${each.name}</option>`)}</select></label>`}</div>
    <details open=${!!more.url}><summary>From a git repository</summary><div class="form">
      <label>URL<input type="url" value=${more.url ?? ""} onInput=${set("url")} placeholder="https://git.example.com/team/project.git" /></label>
      <div class="columns"><label>Branch, tag or commit<input value=${more.ref ?? ""} onInput=${set("ref")} placeholder="the default branch" autocapitalize="off" /></label>
        <label>Commits of history<input type="number" min="1" value=${more.depth ?? ""} onInput=${set("depth")} placeholder="all" /></label>
        <label>Credential<input value=${more.credential ?? ""} onInput=${set("credential")} placeholder="none" autocapitalize="off" /></label></div></div></details>
    <button class="primary" disabled=${busy}>${busy ? "Starting …" : "Start"}</button></form></main>`;
}
