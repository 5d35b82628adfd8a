// The page: routes by the address's fragment, one view at a time.
import { keepFocus } from "./focus.js";
import { html, render, signal, useEffect } from "./lib.js";
import { plain } from "./text.js";
import { unsubscribe } from "./push.js";
import { arrive } from "./scroll.js";
import { setShortcuts, shortcuts } from "./shortcuts.js";
import { attempt, mayWrite, me, notice, online, sessions, signOut, start, titleOf, waiting } from "./store.js";
import { Account } from "./views/account.js";
import { Dialog } from "./views/dialog.js";
import { Guest, startAsGuest } from "./views/guest.js";
import { Home } from "./views/home.js";
import { Login, forgetProvider, returnFromSignIn } from "./views/login.js";
import { NewSession } from "./views/new.js";
import { Notices } from "./views/notices.js";
import { Operator } from "./views/operator.js";
import { initials } from "./views/parts.js";
import { SessionPage, tabOf } from "./views/session.js";
import { Usage } from "./views/usage.js";

returnFromSignIn();
const guest = startAsGuest();
const route = signal(location.hash.slice(1) || "/");
const help = signal(false);
addEventListener("hashchange", () => {
  if (!guest && location.hash.startsWith("#/join/")) location.reload(); // as somebody else
  const before = route.value;
  route.value = location.hash.slice(1) || "/";
  arrive(before, route.value);
  notice.value = ""; // it was about the page before
});

const WRITES = true; // keys of those who may write
const KEYS = [
  ["n", "new session", WRITES], ["i", "inbox and sessions"], ["/", "search"], ["y / a / d", "allow, always allow, deny the first request", WRITES],
  ["Enter", "send or queue the prompt", WRITES], ["Shift+Enter", "a new line in it", WRITES], ["Ctrl+Enter", "interrupt the turn and go on with the prompt", WRITES],
  ["Esc", "in the prompt: interrupt the turn", WRITES], ["↑ / ↓", "between the lines of a diff", WRITES], ["Ctrl+M", "leave the screen of a terminal"],
  ["?", "this sheet"],
];

addEventListener("keydown", (event) => {
  if (guest) return;
  const typing = event.target.closest?.("input, textarea, select");
  if (event.ctrlKey || event.metaKey || event.altKey || (typing && event.key !== "Escape")) return;
  if (event.key === "Escape") help.value = false;
  if (!shortcuts.value) return;
  if (event.key === "?") help.value = !help.value;
  else if (event.key === "n" && mayWrite()) location.hash = "/new";
  else if (event.key === "i") location.hash = "/";
  else if (event.key === "/") {
    event.preventDefault();
    search();
  }
});

function search() {
  const field = document.querySelector("#search");
  if (field) return field.focus();
  location.hash = "/";
  return requestAnimationFrame(() => setTimeout(() => document.querySelector("#search")?.focus()));
}

const GIVE_UP_MS = 3000;

function leave() {
  forgetProvider();
  // A browser whose push service does not answer is signed out all the same.
  const patience = new Promise((resolve) => setTimeout(resolve, GIVE_UP_MS));
  attempt(() => Promise.race([unsubscribe().catch(() => {}), patience]).then(signOut).then((provider) => provider && location.assign(provider)));
}

const NAMES = { new: "New session", usage: "Usage", operator: "Operator", account: "Account" };

function nameOf(address) {
  // Returns what a tab, a bookmark and the history call the page; undefined for the inbox.
  const [, place, id] = address.split("/");
  const session = place === "s" && sessions.value.get(id);
  return session ? plain(titleOf(session)) : NAMES[place];
}

const link = (place, name) => html`<a href=${`#/${place}`} class=${place} aria-current=${route.value.split("/")[1] === place ? "page" : undefined}>${name}</a>`;

function Shell({ children }) {
  const count = waiting.value.length;
  const name = nameOf(route.value);
  useEffect(() => {
    document.title = `${count ? `(${count}) ` : ""}${name ? `${name} · ` : ""}Jelmore`;
  }, [count, name]);
  return html`<header class="bar">
      <a class="brand" href="#/">Jelmore${count > 0 && html`<span class="count" title=${`${count} wait for you`}>${count > 99 ? "99+" : count}</span>`}</a>
      <nav aria-label="Pages">${mayWrite() && link("new", "New")}${link("usage", "Usage")}${me.value.role === "admin" && link("operator", "Operator")}
        <button class="link" onClick=${() => (help.value = !help.value)} aria-label="Keyboard shortcuts" aria-expanded=${help.value}>?</button>
        <a class="me" href="#/account" aria-label="Account" title=${plain(me.value.name)}><span class="person" aria-hidden="true">${initials(plain(me.value.name))}</span></a>
        <button class="link" title=${`Signed in as ${me.value.name}`} onClick=${leave}>Sign out</button></nav>
    </header>
    <${Notices} />
    ${help.value && html`<aside class="card sheet" aria-label="Keyboard shortcuts"><h2>Keys</h2><dl>${KEYS.filter(([, , writes]) => !writes || mayWrite()).map(
      ([key, text]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${text}</dd></div>`)}</dl>
      <label class="option"><input type="checkbox" checked=${shortcuts.value} onChange=${(event) => setShortcuts(event.target.checked)} /> Keys without Ctrl work outside of fields</label></aside>`}
    ${children}`;
}

const App = () => [html`<${Page} />`, html`<${Dialog} />`];

function Page() {
  if (guest) return html`<${Guest} />`;
  if (me.value === undefined) {
    return html`<p class="loading">${online.value ? "Loading …" : "The server does not answer. Trying again …"}</p>`;
  }
  if (me.value === null) return html`<${Login} />`;
  const [, place, id, part, ...rest] = route.value.split("/");
  const view = { s: () => html`<${SessionPage} key=${id} id=${id} tab=${tabOf(part)} rest=${rest} />`, new: () => mayWrite() && html`<${NewSession} />`, account: () => html`<${Account} />`,
    operator: () => me.value.role === "admin" && html`<${Operator} />`, usage: () => html`<${Usage} />` }[place] ?? (() => html`<${Home} />`);
  return html`<${Shell}>${view() || html`<${Home} />`}<//>`;
}

const app = document.querySelector("#app");
app.replaceChildren(); // what the page shows before its scripts run
render(html`<${App} />`, app);
keepFocus(app);
if (!guest) start();

if ("serviceWorker" in navigator) {
  // The only script that this policy can name; a worker's address needs one, as markup does.
  const policy = globalThis.trustedTypes?.createPolicy("worker", { createScriptURL: () => "/sw.js" });
  navigator.serviceWorker.addEventListener("message", ({ data, ports }) => data === "address" && ports[0]?.postMessage(guest ? null : route.value));
  navigator.serviceWorker.register(policy ? policy.createScriptURL("") : "/sw.js").catch(() => {}); // the page works without it
}
