// What goes wrong is said where a person looks, also at the end of a long conversation.
import { html } from "../lib.js";
import { notice, online } from "../store.js";

export const Notices = () => html`<div class="notices">${!online.value && html`<p class="notice" role="status">The server does not answer. Trying again …</p>`}
  ${notice.value && html`<div class="notice" role="alert"><span>${notice.value}</span><button class="link" aria-label="Dismiss"
    onClick=${() => (notice.value = "")}>✕</button></div>`}</div>`;
