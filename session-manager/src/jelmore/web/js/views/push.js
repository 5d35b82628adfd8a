// Take the work away: commit what is there and push it to a branch.
import { post } from "../api.js";
import { html, useState } from "../lib.js";
import { attempt, titleOf } from "../store.js";
import { useOnce } from "./once.js";

const slugOf = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 40) || "work";

export function PushForm({ session, onDone }) {
  const [form, setForm] = useState({ branch: `jelmore/${slugOf(titleOf(session))}`, message: titleOf(session), credential: "", url: "" });
  const [state, setState] = useState(null);
  const [busy, once] = useOnce();
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const submit = (event) => {
    event.preventDefault();
    return once(() => attempt(async () => {
      setState("Pushing …");
      try {
        if (form.message.trim()) await post(`/sessions/${session.id}/commit`, { message: form.message });
        const given = Object.fromEntries(["branch", "credential", "url"].map((name) => [name, form[name].trim()]).filter(([, value]) => value));
        const done = await post(`/sessions/${session.id}/push`, given);
        setState(`${done.branch} is at ${done.commit.slice(0, 8)}${done.pushed ? "" : ", as before"}.`);
      } catch (problem) {
        setState(null);
        throw problem;
      } finally {
        onDone();
      }
    }));
  };
  return html`<details class="card push"><summary>Push a branch</summary><form class="form" onSubmit=${submit}>
    <div class="columns"><label>Branch<input required value=${form.branch} onInput=${set("branch")} /></label>
      <label>Credential<input value=${form.credential} onInput=${set("credential")} placeholder="none" autocapitalize="off" /></label></div>
    ${!session.repository && html`<label>Repository<input type="url" required value=${form.url} onInput=${set("url")}
      placeholder="https://git.example.com/team/project.git" /></label>`}
    <label>Commit what is not committed, as<input value=${form.message} onInput=${set("message")} placeholder="nothing is committed" /></label>
    <p class="buttons"><button class="primary" aria-disabled=${busy}>Commit and push</button><span role="status">${state}</span></p></form></details>`;
}
