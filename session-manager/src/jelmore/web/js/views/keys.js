// API keys: make, replace and revoke. The text of a key is shown once.
import { call, get, post } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { plain } from "../text.js";
import { attempt, look, me } from "../store.js";
import { sure } from "./dialog.js";
import { useOnce } from "./once.js";
import { Age } from "./parts.js";

const ROLES = ["client", "readonly", "admin"];
const FORMER_S = 3600;
const EMPTY = { name: "", role: "client", user: "", acts: false };
const actsFor = ({ act_as: acts, user_id: user }) => (acts ? "acts for every user" : user ? `user ${plain(user)}` : "");

export function Keys() {
  const [keys, setKeys] = useState([]);
  const [made, setMade] = useState(null);
  const [form, setForm] = useState(EMPTY);
  const [busy, once] = useOnce();
  const load = () => look(async () => setKeys(await get("/admin/keys")));
  useEffect(() => {
    load();
  }, []);
  const act = (call) => once(() => attempt(async () => {
    const found = await call();
    setMade(found?.key ? found : null);
    await load();
  }));
  const isClient = form.role === "client";
  const create = (event) => {
    event.preventDefault();
    return act(async () => {
      const user = isClient && form.user.trim();
      const found = await post("/admin/keys", { name: form.name.trim(), role: form.role, ...(user ? { user_id: user } : isClient && { act_as: form.acts }) });
      setForm({ ...EMPTY, role: form.role });
      return found;
    });
  };
  const rotate = async (each) => (await sure(`Replace the key of ${plain(each.name)}?`, "The present one works for an hour more.", "Replace"))
    && act(() => post(`/admin/keys/${each.id}/rotate`, { former_for_s: FORMER_S }));
  const toggle = (each) => act(() => call("PATCH", `/admin/keys/${each.id}`, { act_as: !each.act_as }));
  const revoke = async (each) => (await sure(`Revoke the key of ${plain(each.name)}?`, "Its streams and tokens end at once; its sessions continue.", "Revoke"))
    && act(() => call("DELETE", `/admin/keys/${each.id}`));
  return html`<section class="card" aria-label="Keys"><h2>Keys</h2>
    <form class="columns form" onSubmit=${create}><label>Name<input required maxlength="128" value=${form.name}
        onInput=${(event) => setForm({ ...form, name: event.target.value })} /></label>
      <label>Role<select value=${form.role} onChange=${(event) => setForm({ ...form, role: event.target.value })}>${ROLES.map(
        (each) => html`<option key=${each}>${each}</option>`)}</select></label>
      ${isClient && html`<label>User<input maxlength="256" value=${form.user} placeholder="none" autocapitalize="off"
        onInput=${(event) => setForm({ ...form, user: event.target.value })} /></label>`}
      ${isClient && html`<label class="option whole"><input type="checkbox" disabled=${!!form.user.trim()} checked=${form.acts && !form.user.trim()}
        onChange=${(event) => setForm({ ...form, acts: event.target.checked })} /><span>Its sessions may use the credentials and routes of everybody they work for</span></label>`}
      <p class="buttons end"><button class="primary" aria-disabled=${busy}>Make a key</button></p></form>
    ${made && html`<p class="notice" role="status">The key of ${plain(made.name)}, shown only now: <code class="secret">${made.key}</code></p>`}
    <ul class="list">${keys.map((each) => html`<li key=${each.id} class="server"><span><b>${plain(each.name)}</b> ${each.role}
        <small class="hint"> ${actsFor(each) && `${actsFor(each)}, `}${each.last_used_at ? html`used <${Age} at=${each.last_used_at} /> ago` : "never used"}${each.expires_at ? `, until ${each.expires_at.slice(0, 10)}` : ""}</small></span>
      <span class="buttons">${each.role === "client" && !each.user_id && html`<button aria-pressed=${each.act_as} onClick=${() => toggle(each)}
          title="New sessions use the credentials and routes of whatever user they name" aria-label=${`${plain(each.name)} acts for every user`}>Acts for users</button>`}
        <button onClick=${() => rotate(each)} aria-label=${`Replace the key of ${plain(each.name)}`}>Replace</button>
        ${each.id !== me.value.id && html`<button class="danger" onClick=${() => revoke(each)} aria-label=${`Revoke the key of ${plain(each.name)}`}>Revoke</button>`}</span></li>`)}</ul></section>`;
}
