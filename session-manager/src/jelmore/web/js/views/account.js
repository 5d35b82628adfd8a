// The signed-in person: who they are here, and the credential with which their own sessions call the model.
import { call, get } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { plain } from "../text.js";
import { attempt, look, mayWrite, me } from "../store.js";
import { Consents } from "./consents.js";
import { sure } from "./dialog.js";
import { Age } from "./parts.js";

// In the order in which the gateway looks for one.
const KINDS = [["ANTHROPIC_API_KEY", "API key"], ["ANTHROPIC_AUTH_TOKEN", "Bearer token"], ["CLAUDE_CODE_OAUTH_TOKEN", "Token of claude setup-token"]];
const MAY = { admin: "everything", client: "work with sessions of your own", readonly: "look at every session, and change nothing" };
const path = (name) => `/credentials/${name}?user_id=${encodeURIComponent(me.value.user_id)}`;

export function Account() {
  const { name, role, user_id: user } = me.value;
  return html`<main class="narrow"><h1>Account</h1>
    <section class="card" aria-label="Who you are"><dl class="who"><div><dt>Signed in as</dt><dd>${plain(name)}</dd></div>
      ${user && html`<div><dt>User</dt><dd>${plain(user)}</dd></div>`}<div><dt>You may</dt><dd>${MAY[role] ?? role}</dd></div></dl></section>
    ${user && mayWrite() ? html`<${Credentials} />` : html`<section class="card" aria-label="Model credential"><h2>Model credential</h2>
      <p class="hint">${user ? "Who may only look starts no sessions, and needs none." : `An API key is not a person: its sessions call the model with the credential of this server, or
      with that of the user that a session names.`}</p></section>`}
    ${mayWrite() && (user || role === "admin") && html`<${Consents} user=${user} />`}</main>`;
}

function Credentials() {
  const [found, setFound] = useState(null); // those of this person, without values
  const [kind, setKind] = useState(KINDS[0][0]);
  const [value, setValue] = useState("");
  const [done, setDone] = useState("");
  const load = () => look(async () => setFound((await get("/credentials")).filter((each) =>
    each.scope === "user" && each.owner === me.value.user_id && KINDS.some(([name]) => name === each.name))));
  useEffect(() => {
    load();
  }, []);
  const known = found?.find((each) => each.name === kind);
  const save = (event) => {
    event.preventDefault();
    return attempt(async () => {
      setDone("");
      await call("PUT", path(kind), { value: value.trim() });
      setValue("");
      setDone(known ? "Replaced. Sessions use the new one within seconds." : "Set. Your sessions use it within seconds.");
      await load();
    });
  };
  const remove = async (each, label) => (await sure(`Remove your ${label}?`, "Your sessions then call the model with the credential of this server, if it has one.", "Remove"))
    && attempt(async () => {
      await call("DELETE", path(each.name));
      setDone("Removed.");
      await load();
    });
  return html`<section class="card" aria-label="Model credential"><h2>Model credential</h2>
    <p class="hint">Sessions of yours call the model with it, in place of that of this server. It is kept encrypted outside of their sandboxes, and nobody can read it again.</p>
    ${found?.length > 0 ? html`<ul class="list">${KINDS.filter(([name]) => found.some((each) => each.name === name)).map(([name, label]) => {
      const each = found.find((one) => one.name === name);
      return html`<li key=${name} class="server"><span><b>${label}</b> <small class="hint">changed <${Age} at=${each.changed_at} /> ago</small></span>
        <span class="buttons"><button class="danger" aria-label=${`Remove the ${label}`} onClick=${() => remove(each, label)}>Remove</button></span></li>`;
    })}</ul>${found.length > 1 && html`<p class="hint">The first of them is used.</p>`}` : found && html`<p>You have set none.</p>`}
    <form class="form" onSubmit=${save}><label>Kind<select value=${kind} onChange=${(event) => setKind(event.target.value)}>${KINDS.map(
        ([name, label]) => html`<option value=${name}>${label}</option>`)}</select></label>
      <label>${known ? "New value" : "Value"}<input type="password" autocomplete="off" required value=${value} onInput=${(event) => setValue(event.target.value)} /></label>
      <p class="buttons"><button class="primary" disabled=${!value.trim()}>${known ? "Replace" : "Set"}</button><span role="status">${done}</span></p></form></section>`;
}
