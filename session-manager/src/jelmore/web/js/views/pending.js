// Permissions, questions and connections that wait for an answer, as cards with buttons and keys.
import { post } from "../api.js";
import { html, useEffect, useRef, useState } from "../lib.js";
import { plain } from "../text.js";
import { shortcuts } from "../shortcuts.js";
import { attempt, mayWrite, notice } from "../store.js";
import { Elicitation } from "./elicitation.js";
import { ToolInput } from "./tool.js";

export function PendingCards({ id, pending, onDone, edits = true }) {
  const answer = (request, body) =>
    attempt(async () => {
      try {
        await post(`/sessions/${id}/permissions/${encodeURIComponent(request.request_id)}`, body);
      } catch (problem) {
        if (problem.code !== "already_answered" && problem.code !== "unknown_request") throw problem;
        notice.value = "It had been answered already; its conversation says how.";
      }
      onDone?.(request.request_id);
    });
  if (!mayWrite()) return pending.map((each) => html`<${Asked} key=${each.request_id} request=${each} />`);
  return pending.map((each) => each.tool === "Elicitation"
    ? html`<${Elicitation} key=${each.request_id} request=${each} answer=${answer} />`
    : each.waiting_for === "question" ? html`<${Question} key=${each.request_id} request=${each} answer=${answer} />`
    : html`<${Permission} key=${each.request_id} request=${each} answer=${answer} first=${each === pending[0]} edits=${edits} />`);
}

// For somebody who may only look.
const Asked = ({ request }) => html`<div class="ask"><p class="asks">${plain(request.title || request.tool)}</p>
  ${request.waiting_for === "question" ? (request.input?.questions ?? []).filter((part) => part.question !== request.title).map((part) => html`<p>${plain(part.question)}</p>`)
    : html`<${ToolInput} tool=${request.tool} input=${request.input} />`}<p class="hint">It waits for an answer of somebody else.</p></div>`;

const ruleText = ({ toolName, ruleContent }) => (ruleContent ? `${toolName}(${ruleContent})` : toolName);

function Permission({ request, answer, first, edits }) {
  const [reason, setReason] = useState("");
  const [edited, setEdited] = useState(null); // the input as text while it is changed
  const card = useRef(null);
  const connects = request.waiting_for === "egress";
  const rules = (request.suggestions ?? []).flatMap((each) => (each.behavior === "allow" ? each.rules ?? [] : [])).map(ruleText);
  const isCommand = typeof request.input?.command === "string";
  const allow = () => attempt(() =>
    answer(request, { decision: "allow", ...(edited !== null && { updated_input: inputFrom(request.input, edited) }) }));
  const always = () => answer(request, { decision: "allow", remember: "session" });
  const deny = () => answer(request, { decision: "deny", ...(reason.trim() && { message: reason.trim() }) });
  useEffect(() => {
    if (!first) return undefined;
    const keys = { y: allow, a: always, d: deny };
    const press = (event) => {
      if (card.current !== document.querySelector(".ask")) return; // of several sessions' on a page, the first one's
      if (event.target.closest?.("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey || event.repeat || !shortcuts.value) return;
      keys[event.key]?.();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
  const edit = () => setEdited(edited !== null ? null : isCommand ? request.input.command : JSON.stringify(request.input, null, 2));
  return html`<div class="ask" ref=${card}><p class="asks">${plain(request.title || request.tool)}</p>
    ${edited === null ? html`<${ToolInput} tool=${request.tool} input=${request.input} />` : html`<textarea class="code" rows="6"
      aria-label=${isCommand ? "Command" : "Input as JSON"} value=${edited} onInput=${(event) => setEdited(event.target.value)}></textarea>`}
    <div class="buttons"><button class="primary" onClick=${allow}>${connects ? "Allow once" : "Allow"}</button>
      ${edited === null && html`<button onClick=${always} title="Allow the same for the rest of the session">${
        connects ? "Allow for the session" : "Always"}</button>`}
      ${edits && !connects && html`<button onClick=${edit}>${edited === null ? "Edit" : "As it was"}</button>`}
      <button class="danger" onClick=${deny}>Deny</button></div>
    ${edited === null && rules.length > 0 && html`<p class="hint">Always: ${rules.map((each) => html`<code>${plain(each)}</code> `)}</p>`}
    <input aria-label="Reason for denying" placeholder="Reason, sent with Deny" value=${reason}
      onInput=${(event) => setReason(event.target.value)} /></div>`;
}

function inputFrom(input, text) {
  // Returns a tool's input as it was edited. Throws when it is not a JSON object.
  if (typeof input?.command === "string") return { ...input, command: text };
  let found;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(`The input is not JSON: ${error.message}`);
  }
  if (typeof found !== "object" || found === null || Array.isArray(found)) throw new SyntaxError("The input must be a JSON object.");
  return found;
}

function Question({ request, answer }) {
  const questions = request.input?.questions ?? [];
  const [chosen, setChosen] = useState({}); // labels, by question
  const [own, setOwn] = useState({}); // in a person's own words, by question
  const choose = ({ question, multiSelect }, label) => {
    const before = chosen[question] ?? [];
    const list = !multiSelect ? [label] : before.includes(label) ? before.filter((each) => each !== label) : [...before, label];
    setChosen({ ...chosen, [question]: list });
    if (!multiSelect) setOwn({ ...own, [question]: "" });
  };
  const write = ({ question, multiSelect }, text) => {
    setOwn({ ...own, [question]: text });
    if (!multiSelect && text) setChosen({ ...chosen, [question]: [] });
  };
  const answerTo = ({ question, multiSelect }) => {
    const words = own[question]?.trim();
    const all = [...(chosen[question] ?? []), ...(words ? [words] : [])];
    return multiSelect ? all : all[0] ?? "";
  };
  const complete = questions.every((part) => answerTo(part).length > 0);
  return html`<form class="ask" onSubmit=${(event) => {
    event.preventDefault();
    answer(request, { decision: "allow", answers: Object.fromEntries(questions.map((part) => [part.question, answerTo(part)])) });
  }}>${questions.map((part, index) => html`<fieldset><legend>${plain(part.question)}</legend>
      ${(part.options ?? []).map((option) => html`<label class="option"><input type=${part.multiSelect ? "checkbox" : "radio"}
        name=${`${request.request_id}-${index}`} checked=${(chosen[part.question] ?? []).includes(option.label)}
          onChange=${() => choose(part, option.label)} />
        <span>${plain(option.label)} <small>${plain(option.description)}</small></span></label>`)}
      <input aria-label="Another answer" placeholder="Another answer" value=${own[part.question] ?? ""}
        onInput=${(event) => write(part, event.target.value)} /></fieldset>`)}
    <div class="buttons"><button class="primary" disabled=${!complete}>Answer</button>
      <button type="button" class="danger" onClick=${() => answer(request, { decision: "deny" })}>Decline</button></div></form>`;
}
