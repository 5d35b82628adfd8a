// What a session may cost before its prompts wait, where it is used up.
import { html, useEffect, useState } from "../lib.js";
import { change, mayWrite, refresh } from "../store.js";
import { get, isGuest } from "../api.js";
import { useOnce } from "./once.js";
import { dollars } from "./parts.js";

export function UsedUp({ session }) {
  // Its own budget is raised here; one of a user or a key by an operator.
  const { budget_usd: budget, usage } = session;
  const [unreported, setUnreported] = useState(0); // what no turn reported counts too, and is not in `usage`
  useEffect(() => {
    if (budget !== null) get(`/sessions/${session.id}/usage?limit=1`).then((found) => setUnreported(found.unreported.cost_usd), () => {});
  }, [session.id, session.version]);
  const spent = usage.cost_usd + unreported;
  const own = budget !== null && spent >= budget;
  return html`<div class="along"><p role="status">${own ? `The budget of ${dollars(budget)} is used up: ${dollars(spent)} were spent.`
    : "A budget of its user or its key is used up. An operator can raise it."} Prompts wait until it is raised.</p>
    ${own && mayWrite() && !isGuest() && html`<${Raise} session=${session} spent=${spent} />`}</div>`;
}

function Raise({ session, spent }) {
  const [amount, setAmount] = useState("");
  const [busy, once] = useOnce();
  const submit = (event) => {
    event.preventDefault();
    return once(async () => (await change(session.id, { budget_usd: Number(amount) })) && refresh(session.id));
  };
  return html`<form class="inline" onSubmit=${submit}><label>New budget in US dollars <input type="number" inputmode="decimal" required min=${spent}
      max="1000000" step="any" value=${amount} onInput=${(event) => setAmount(event.target.value)} /></label>
    <button class="primary" aria-disabled=${busy}>Raise</button></form>`;
}
