// What an MCP server asks for: a form with the fields of its schema, or an address to open.
import { html, useState } from "../lib.js";
import { plain } from "../text.js";

const KINDS = { email: "email", uri: "url", date: "date", "date-time": "datetime-local" };

export function Elicitation({ request, answer }) {
  const { mcp_server_name: server, requested_schema: schema, mode, url } = request.input ?? {};
  // The runner passes on what is no schema: it must not end the page.
  const fields = mode === "url" ? [] : Object.entries(isObject(schema?.properties) ? schema.properties : {}).filter(([, field]) => isObject(field));
  const required = Array.isArray(schema?.required) ? schema.required : [];
  const [values, setValues] = useState(() => Object.fromEntries(fields.map(([name, field]) => [name, firstOf(field)])));
  const set = (name, value) => setValues((before) => ({ ...before, [name]: value }));
  return html`<form class="ask" onSubmit=${(event) => {
    event.preventDefault();
    answer(request, { decision: "allow", ...(mode !== "url" && { updated_input: contentOf(fields, values, required) }) });
  }}><p class="asks">${plain(request.title)} <small>${plain(server)}</small></p>
    ${mode === "url" && html`<p>${/^https?:\/\//i.test(url) ? html`<a href=${url} target="_blank" rel="noopener noreferrer">${plain(url)}</a>` : plain(url)}</p>`}
    ${fields.map(([name, field]) => html`<${Field} key=${name} name=${name} field=${field} value=${values[name]}
      required=${required.includes(name)} group=${`${request.request_id}-${name}`} onValue=${(value) => set(name, value)} />`)}
    <div class="buttons"><button class="primary">${mode === "url" ? "Accept" : "Answer"}</button>
      <button type="button" class="danger" onClick=${() => answer(request, { decision: "deny" })}>Decline</button></div></form>`;
}

function Field({ name, field, value, required, group, onValue }) {
  const label = html`${plain(field.title ?? name)}${required ? "" : " (optional)"} <small>${plain(field.description)}</small>`;
  if (field.type === "boolean") {
    return html`<label class="option"><input type="checkbox" checked=${value} onChange=${(event) => onValue(event.target.checked)} />
      <span>${label}</span></label>`;
  }
  if (field.type === "array") {
    const flip = (each) => onValue(value.includes(each) ? value.filter((other) => other !== each) : [...value, each]);
    return html`<fieldset><legend>${label}</legend>${choicesOf(field.items).map((each) => html`<label class="option"><input type="checkbox"
      name=${group} checked=${value.includes(each.value)} onChange=${() => flip(each.value)} /><span>${plain(each.title)}</span></label>`)}</fieldset>`;
  }
  const choices = choicesOf(field);
  const input = (event) => onValue(event.target.value);
  if (choices.length > 0) {
    return html`<label><span>${label}</span><select required=${required} value=${value} onChange=${input}><option value="">…</option>
      ${choices.map((each) => html`<option key=${each.value} value=${each.value} selected=${each.value === value}>${plain(each.title)}</option>`)}</select></label>`;
  }
  const number = field.type === "number" || field.type === "integer";
  return html`<label><span>${label}</span><input type=${number ? "number" : KINDS[field.format] ?? "text"} value=${value} required=${required}
    min=${field.minimum} max=${field.maximum} step=${number ? (field.type === "integer" ? 1 : "any") : undefined}
    minlength=${field.minLength} maxlength=${field.maxLength} onInput=${input} /></label>`;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function firstOf({ type, format, default: given }) {
  // Returns the value that a field begins with: its default if that is one, in the form that the input shows.
  if (type === "boolean") return given === true;
  if (type === "array") return Array.isArray(given) ? given : [];
  if (format === "date-time") return ""; // its input takes no zone: it would be sent unseen
  return typeof given === "string" || typeof given === "number" ? given : "";
}

// The values to choose from with their titles; none where any value may be.
function choicesOf(field) {
  const titled = field?.oneOf ?? field?.anyOf;
  if (Array.isArray(titled)) return titled.filter((each) => isObject(each) && "const" in each).map((each) => ({ value: each.const, title: each.title ?? each.const }));
  return Array.isArray(field?.enum) ? field.enum.map((value, index) => ({ value, title: field.enumNames?.[index] ?? value })) : [];
}

// What is sent: numbers as numbers, times with their zone, and nothing for a field that was left empty.
function contentOf(fields, values, required) {
  const typed = (field, value) => (field.type === "number" || field.type === "integer" ? Number(value)
    : field.format === "date-time" ? new Date(value).toISOString() : value);
  const isGiven = ([name]) => (Array.isArray(values[name]) ? values[name].length > 0 || required.includes(name) : values[name] !== "");
  return Object.fromEntries(fields.filter(isGiven).map(([name, field]) => [name, typed(field, values[name])]));
}
