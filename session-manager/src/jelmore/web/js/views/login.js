// Signing in: with an API key, or at the identity provider of the deployment.
import { get } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { browser, tab } from "../storage.js";
import { attempt, notice, signIn } from "../store.js";

const REFUSALS = {
  provider_away: "The sign-in service does not answer. Try again later, or use an API key.",
  provider_misconfigured: "The sign-in service and this server do not fit together. An operator finds the reason in the log.",
  cancelled: "You were not signed in there.",
  ended: "Your sign-in has ended. Sign in again.",
  other_attempt: "That sign-in was not started in this browser, or was used already. Begin again.",
  too_slow: "That took too long. Begin again.",
  code_refused: "The sign-in service took its answer back. Begin again.",
  bad_token: "The answer of the sign-in service could not be trusted. An operator finds the reason in the log.",
  no_group: "You are known there, but none of your groups may use this server.",
  revoked: "An operator of this server has revoked your account.",
  busy: "Too many people sign in just now. Try again in a minute.",
};
const PLACE = "jelmore.place"; // where to return to, of this tab
const BY_PROVIDER = "jelmore.by_provider"; // this browser last signed in there
const SILENTLY = "jelmore.silently"; // when this tab last asked without a person
const PAUSE_MS = 60_000;

const outcome = () => location.hash.match(/^#\/signin\/([a-z_]+)$/)?.[1];

export function returnFromSignIn() {
  // Call before the page reads its address: after a sign-in it becomes the one that the person was at.
  if (outcome() !== "done") return;
  browser.set(BY_PROVIDER, "1");
  history.replaceState(null, "", tab.get(PLACE) || "#/");
  tab.remove(PLACE);
}

export const forgetProvider = () => browser.remove(BY_PROVIDER);

function leave(url) {
  if (!outcome()) tab.set(PLACE, location.hash || "#/");
  location.assign(url);
}

function renews(oidc) {
  // A sign-in ends after a while. While the person is signed in at the provider, it needs no click; drafts stay.
  if (!oidc || outcome() || !browser.get(BY_PROVIDER)) return false;
  if (Date.now() - Number(tab.get(SILENTLY)) < PAUSE_MS) return false;
  tab.set(SILENTLY, Date.now());
  leave(`${oidc.url}?silent=1`);
  return true;
}

export function Login() {
  const [key, setKey] = useState("");
  const [oidc, setOidc] = useState(undefined); // null: there is none
  const [leaving, setLeaving] = useState(false);
  const refusal = REFUSALS[outcome()];
  useEffect(() => {
    get("/login").then((found) => {
      setLeaving(renews(found.oidc));
      setOidc(found.oidc);
    }, () => setOidc(null)); // an API key works all the same
  }, []);
  const submit = (event) => {
    event.preventDefault();
    attempt(() => signIn(key.trim()));
  };
  const go = (event) => {
    event.preventDefault();
    setLeaving(true);
    leave(oidc.url);
  };
  if (leaving || oidc === undefined) return html`<p class="loading">${leaving ? "Signing in …" : "Loading …"}</p>`;
  return html`<main class="narrow door"><h1><img src="/ui/icon.svg" alt="" width="36" height="36" />Jelmore</h1>
    ${refusal && html`<p class="notice" role="alert">${refusal}</p>`}
    ${oidc && html`<section class="card"><a class="button primary" href=${oidc.url} onClick=${go}>Sign in with ${oidc.name}</a></section>`}
    <form class="card form" onSubmit=${submit}>
      <label>API key<input type="password" autocomplete="current-password" required value=${key}
        onInput=${(event) => setKey(event.target.value)} autofocus=${!oidc} /></label>
      <p class="hint">${oidc ? "For programs and operators." : "make run prints one and writes it to .jelmore/env."} The browser keeps a login, not the key.</p>
      <button class=${oidc ? "" : "primary"}>Sign in</button>
    </form>${notice.value && html`<p class="notice" role="alert">${notice.value}</p>`}</main>`;
}
