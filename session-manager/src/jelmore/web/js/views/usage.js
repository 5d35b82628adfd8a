// What sessions used: cost by day as bars, and sums by model, user, key or session as a table.
import { get } from "../api.js";
import { now } from "../clock.js";
import { html, useState } from "../lib.js";
import { plain } from "../text.js";
import { me, sessions, titleOf } from "../store.js";
import { Loading, useLoaded } from "./loaded.js";
import { dollars } from "./parts.js";

const DAY_MS = 86_400_000;
const SPANS = [7, 30, 90];
const GROUPS = ["model", "user", "key", "session"];
const [BAR, GAP, HEIGHT] = [8, 2, 100]; // units of the drawing

const dayOf = (ms) => new Date(ms).toISOString().slice(0, 10);
const count = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export function Usage() {
  const [days, setDays] = useState(30);
  const [by, setBy] = useState("model");
  const sums = useLoaded(async () => {
    const from = dayOf(now() - (days - 1) * DAY_MS);
    const [daily, each] = await Promise.all([get(`/usage?by=day&from=${from}`), get(`/usage?by=${by}&from=${from}&limit=100`)]);
    return { daily, sums: each };
  }, [days, by]);
  const { found } = sums;
  return html`<main><h1>Usage</h1>
    <p class="buttons" role="group" aria-label="Days">${SPANS.map((each) => html`<button key=${each} aria-pressed=${days === each}
      onClick=${() => setDays(each)}>${each} days</button>`)}</p>
    ${found === null || sums.problem ? html`<${Loading} of=${sums} />` : html`<section class="card"><h2>Cost by day</h2>
      <p><b>${dollars(found.daily.total.cost_usd)}</b> in ${found.daily.total.turns} turns of ${me.value.role === "client" ? "your sessions" : "all sessions"}</p>
      <${Bars} daily=${found.daily} /></section>
    <section class="card"><h2>By <select aria-label="Sum by" value=${by} onChange=${(event) => setBy(event.target.value)}>${GROUPS.map(
      (each) => html`<option key=${each}>${each}</option>`)}</select></h2><${Sums} sums=${found.sums} /></section>`}</main>`;
}

function Bars({ daily }) {
  const cost = new Map(daily.items.map((each) => [each.name, each.cost_usd]));
  const days = [];
  for (let at = Date.parse(daily.since); at <= Date.parse(daily.until); at += DAY_MS) days.push(dayOf(at));
  const most = Math.max(...days.map((day) => cost.get(day) ?? 0), 1e-9);
  const spent = days.filter((day) => cost.get(day));
  return html`<svg class="bars" role="img" viewBox=${`0 0 ${days.length * (BAR + GAP)} ${HEIGHT}`} preserveAspectRatio="none"
      aria-label=${`Cost by day, from ${daily.since} to ${daily.until}: ${spent.map((day) => `${day} ${dollars(cost.get(day))}`).join(", ") || "nothing"}`}>
    ${days.map((day, index) => {
      const height = ((cost.get(day) ?? 0) / most) * HEIGHT;
      return html`<rect key=${day} x=${index * (BAR + GAP)} y=${HEIGHT - Math.max(height, 1)} width=${BAR} height=${Math.max(height, 1)}
        class=${height ? "" : "none"}>
        <title>${day}: ${dollars(cost.get(day) ?? 0)}</title></rect>`;
    })}</svg><p class="hint axis"><span>${daily.since}</span><span class="most">at most ${dollars(spent.length ? most : 0)} in a day</span><span>${daily.until}</span></p>`;
}

function Sums({ sums }) {
  if (sums.items.length === 0) return html`<p class="hint">Nothing was used.</p>`;
  const name = (each) => (each.name === "" ? "not known" : sums.by === "session" ? html`<a href=${`#/s/${each.name}`} title=${each.name}>${plain(sessions.value.has(each.name) ? titleOf(sessions.value.get(each.name)) : each.name)}</a>` : plain(each.name));
  return html`<div class="wide" tabindex="0" role="region" aria-label=${`Usage by ${sums.by}`}><table><thead><tr><th>${sums.by}</th><th>cost</th><th>turns</th>
      <th>input</th><th>cached</th><th>output</th></tr></thead>
    <tbody>${sums.items.map((each) => html`<tr key=${each.name}><th>${name(each)}</th><td>${dollars(each.cost_usd)}</td><td>${each.turns}</td>
      <td>${count.format(each.input_tokens)}</td><td>${count.format(each.cache_read_tokens + each.cache_write_tokens)}</td>
      <td>${count.format(each.output_tokens)}</td></tr>`)}</tbody></table></div>`;
}
