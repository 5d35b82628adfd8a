// MCP servers that the gateway may use in a person's name, or in everybody's, after a consent at the server.
import { call, get, post } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { plain } from "../text.js";
import { attempt, look } from "../store.js";
import { sure } from "./dialog.js";
import { Age } from "./parts.js";

export function Consents({ user }) {
  // `user`: whose consents they are; without one they are those of the deployment.
  const [routes, setRoutes] = useState([]);
  const [begun, setBegun] = useState({}); // where the consent is given, {url, issuer}, by route
  const load = () => look(async () => setRoutes(await get("/authorizations")));
  useEffect(() => {
    load();
    addEventListener("focus", load); // somebody comes back from the server's page
    return () => removeEventListener("focus", load);
  }, []);
  const begin = (each) => attempt(async () => {
    const started = await post("/authorizations", { route: each.route });
    if (/^https?:/.test(started.url)) setBegun({ ...begun, [each.route]: { ...started, before: each.changed_at } });
  });
  const remove = async (each) => (await sure(`Remove the access to ${plain(each.route)}?`, "Sessions that use it get errors from then on.", "Remove"))
    && attempt(async () => {
      await call("DELETE", `/credentials/${encodeURIComponent(each.credential)}${user ? `?user_id=${encodeURIComponent(user)}` : ""}`);
      await load();
    });
  if (routes.length === 0) return null;
  return html`<section class="card" aria-label="Servers"><h2>MCP servers</h2>
    <p class="hint">${user ? "Sessions of yours use them in your name" : "Every session uses them"}, after your consent there. The sandboxes never see the access.</p>
    <ul class="list">${routes.map((each) => {
      const waits = begun[each.route]?.before === each.changed_at && begun[each.route];
      return html`<li key=${each.route} class="server"><span><b>${plain(each.route)}</b> <small class="hint">${plain(each.host)}, ${stateOf(each)}</small>
          ${each.problem && html`<br /><span class="error">${plain(each.problem)}</span>`}</span>
        <span class="buttons">${waits ? html`<a class="button primary" href=${waits.url} target="_blank" rel="noopener noreferrer">Continue at ${plain(hostOf(waits.issuer))}</a>`
          : html`<button aria-label=${`Authorize ${plain(each.route)}`} onClick=${() => begin(each)}>${each.kind ? "Authorize again" : "Authorize"}</button>`}
          ${each.kind && html`<button class="danger" aria-label=${`Remove the access to ${plain(each.route)}`} onClick=${() => remove(each)}>Remove</button>`}</span></li>`;
    })}</ul></section>`;
}

const stateOf = ({ kind, changed_at: at }) => (!kind ? "no access yet" : html`${kind === "oauth" ? "authorized" : "a value is set"} <${Age} at=${at} /> ago`);

function hostOf(address) {
  try {
    return new URL(address).host;
  } catch {
    return address;
  }
}
