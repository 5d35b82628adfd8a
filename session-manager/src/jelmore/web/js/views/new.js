// Start a session.
import { call, get, newId } from "../api.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib.js";
import { browser } from "../storage.js";
import { attempt, remember } from "../store.js";
import { EFFORTS, MODES } from "./settings.js";

const DRAFT = "jelmore.draft.new";
const FIELDS = "jelmore.draft.new.fields"; // the other fields, as JSON

function keptFields() {
  try {
    return Object(JSON.parse(browser.get(FIELDS)));
  } catch {
    return {};
  }
}

export function NewSession() {
  const [prompt, setPrompt] = useState(browser.get(DRAFT) ?? "");
  const [more, setMore] = useState(keptFields);
  const [profiles, setProfiles] = useState([]);
  const [busy, setBusy] = useState(false);
  const field = useRef(null);
  useLayoutEffect(() => field.current.focus(), []); // a browser heeds `autofocus` once
  const tried = useRef({}); // the last attempt: the same session keeps its key, so that it is made once
  const write = (written) => {
    setPrompt(written);
    browser.set(DRAFT, written);
  };
  useEffect(() => {
    get("/profiles").then((found) => setProfiles(found.profiles ?? []), () => setProfiles([]));
  }, []);
  // A kept profile may be gone, or the list could not be read: what is sent is what is seen.
  const names = [...new Set([...profiles.map((each) => each.name), ...(more.profile ? [more.profile] : [])])];
  const set = (name) => (event) => {
    const next = { ...more, [name]: event.target.value };
    setMore(next);
    browser.set(FIELDS, JSON.stringify(next));
  };
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    const filled = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value));
    const { url, ref, depth, credential, tags, ...rest } = filled(more);
    const given = { ...rest, ...(tags && { tags: tags.split(/[\s,]+/).filter(Boolean) }),
      ...(url && { repository: filled({ url, ref, depth: Number(depth) || 0, credential }) }) };
    const body = { ...given, ...(prompt.trim() && { query: prompt }) };
    const same = JSON.stringify(body);
    if (tried.current.same !== same) tried.current = { same, key: newId() };
    const created = await attempt(() => call("POST", "/sessions", body, { "Idempotency-Key": tried.current.key }));
    setBusy(false);
    if (!created) return;
    browser.remove(DRAFT);
    browser.remove(FIELDS);
    remember(created);
    location.hash = `/s/${created.id}`;
  };
  return html`<main class="narrow"><h1>New session</h1><form class="card form" onSubmit=${submit}>
    <label>First prompt<textarea rows="5" ref=${field} value=${prompt} onInput=${(event) => write(event.target.value)}
      placeholder="What is to be done? May be left empty."></textarea></label>
    <label>Title<input value=${more.title ?? ""} onInput=${set("title")} /></label>
    <div class="columns"><label>Model<input value=${more.model ?? ""} onInput=${set("model")} placeholder="default" /></label>
      <label>Permissions<select value=${more.permission_mode ?? ""} onChange=${set("permission_mode")}><option value="">default</option>
        ${MODES.slice(1).map((mode) => html`<option value=${mode}>${mode}</option>`)}</select></label>
      <label>Effort<select value=${more.effort ?? ""} onChange=${set("effort")}><option value="">default</option>
        ${EFFORTS.map((each) => html`<option value=${each}>${each}</option>`)}</select></label>
      <label>Tags<input value=${more.tags ?? ""} onInput=${set("tags")} placeholder="none" autocapitalize="off" /></label>
      ${names.length > 0 && html`<label>Profile<select onChange=${set("profile")}><option value="">default</option>
        ${names.map((each) => html`<option value=${each} selected=${more.profile === each}>${each}</option>`)}</select></label>`}</div>
    <details open=${!!more.url}><summary>From a git repository</summary><div class="form">
      <label>URL<input type="url" value=${more.url ?? ""} onInput=${set("url")} placeholder="https://git.example.com/team/project.git" /></label>
      <div class="columns"><label>Branch, tag or commit<input value=${more.ref ?? ""} onInput=${set("ref")} placeholder="default" autocapitalize="off" /></label>
        <label>Commits of history<input type="number" min="1" value=${more.depth ?? ""} onInput=${set("depth")} placeholder="all" /></label>
        <label>Credential<input value=${more.credential ?? ""} onInput=${set("credential")} placeholder="none" autocapitalize="off" /></label></div></div></details>
    <button class="primary" aria-disabled=${busy}>${busy ? "Starting …" : "Start"}</button></form></main>`;
}
