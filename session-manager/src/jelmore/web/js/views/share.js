// Links to a session for people without a key: made here, listed, and revoked together with who came by them.
import { call, get, post } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { plain } from "../text.js";
import { attempt, look } from "../store.js";
import { Panel } from "./dialog.js";
import { useOnce } from "./once.js";

const HOUR_S = 3600;
const TIMES = [[HOUR_S, "1 hour"], [24 * HOUR_S, "1 day"], [7 * 24 * HOUR_S, "1 week"], [30 * 24 * HOUR_S, "30 days"]];
export const MAY = { viewer: "watch", approver: "watch and answer", editor: "watch, answer and write", owner: "everything" };

const when = (at) => new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

export function Share({ id, onClose }) {
  const [role, setRole] = useState("viewer");
  const [ttl, setTtl] = useState(24 * HOUR_S);
  const [uses, setUses] = useState(1);
  const [link, setLink] = useState("");
  const [copied, setCopied] = useState(false);
  const [busy, once] = useOnce();
  const [links, setLinks] = useState([]);
  const [people, setPeople] = useState([]);
  const load = () => look(async () => {
    const [invites, participants] = await Promise.all([get(`/sessions/${id}/invites`), get(`/sessions/${id}/participants`)]);
    setLinks(invites);
    setPeople(participants.filter((each) => each.id.startsWith("person_")));
  });
  useEffect(() => {
    load();
    const timer = setInterval(load, 10_000);
    return () => clearInterval(timer);
  }, [id]);
  const make = (event) => {
    event.preventDefault();
    once(() => attempt(async () => {
      const made = await post(`/sessions/${id}/invites`, { role, expires_in_s: ttl, access_for_s: ttl, uses });
      // In the fragment: browsers do not send it, so it is in no log.
      setLink(`${location.origin}/#/join/${made.invite}`);
      setCopied(false);
      await load();
    }));
  };
  const copy = () => attempt(async () => {
    await navigator.clipboard.writeText(link);
    setCopied(true);
  });
  const revoke = (each) => attempt(async () => {
    await call("DELETE", `/sessions/${id}/invites/${each.id}?people=true`);
    setLink("");
    await load();
  });
  const remove = (each) => attempt(async () => {
    await call("DELETE", `/sessions/${id}/participants/${encodeURIComponent(each.id)}`);
    await load();
  });
  return html`<${Panel} title="Share this session" label="Share" onClose=${onClose}>
    <form class="columns" onSubmit=${make}>
      <label>Who opens it may<select value=${role} onChange=${(event) => setRole(event.target.value)}>
        ${["viewer", "approver", "editor"].map((each) => html`<option value=${each}>${MAY[each]}</option>`)}</select></label>
      <label>Access for<select value=${ttl} onChange=${(event) => setTtl(Number(event.target.value))}>
        ${TIMES.map(([seconds, text]) => html`<option value=${seconds}>${text}</option>`)}</select></label>
      <label>People<input type="number" min="1" max="100" required value=${uses} onInput=${(event) => setUses(Number(event.target.value))} /></label>
      <button class="primary" aria-disabled=${busy}>Make a link</button></form>
    ${link && html`<p class="made"><input readonly aria-label="Link" value=${link} onFocus=${(event) => event.target.select()} />
      <button onClick=${copy}>${copied ? "Copied" : "Copy"}</button></p><p class="hint" role="status">It is shown this once. Whoever has it
      needs no key.</p>`}
    ${links.length > 0 && html`<h3>Links</h3><ul>${links.map((each) => html`<li key=${each.id}><span>May ${MAY[each.role]}, until ${when(each.expires_at)},
      for ${each.uses_left === 1 ? "one person more" : `${each.uses_left} people more`}</span><button class="danger" onClick=${() => revoke(each)}>Revoke</button></li>`)}</ul>`}
    ${people.length > 0 && html`<h3>People</h3><ul>${people.map((each) => html`<li key=${each.id}><span><b>${plain(each.name)}</b> may ${MAY[each.role]}${
      each.expires_at ? `, until ${when(each.expires_at)}` : ""}</span><button class="danger" onClick=${() => remove(each)}>Remove</button></li>`)}</ul>`}
  <//>`;
}
