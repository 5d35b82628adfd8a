// What goes wrong is said where a person looks, also at the end of a long conversation.
import { html } from "../lib.js";
import { late, notice, online } from "../store.js";

export const Notices = () => html`<div class="notices"><${Said} /></div>`;

export const Said = () => [
  (!online.value || late.value) && html`<p class="notice" role="status">${online.value ? "Waiting for the server …"
    : "The server does not answer. Trying again …"}</p>`,
  notice.value && html`<div class="notice" role="alert"><span>${notice.value}</span><button class="link" aria-label="Dismiss"
    onClick=${() => (notice.value = "")}>✕</button></div>`,
];
