// Permissions and questions that wait for an answer, as cards with buttons and keys.
import { post } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { plain } from "../markdown.js";
import { attempt } from "../store.js";
import { ToolInput } from "./tool.js";

export function PendingCards({ id, pending, onDone }) {
  const answer = (request, body) =>
    attempt(async () => {
      try {
        await post(`/sessions/${id}/permissions/${encodeURIComponent(request.request_id)}`, body);
      } catch (problem) {
        if (problem.code !== "already_answered" && problem.code !== "unknown_request") throw problem;
      }
      onDone?.(request.request_id);
    });
  return pending.map((each) => each.waiting_for === "question"
    ? html`<${Question} key=${each.request_id} request=${each} answer=${answer} />`
    : html`<${Permission} key=${each.request_id} request=${each} answer=${answer} first=${each === pending[0]} />`);
}

function Permission({ request, answer, first }) {
  const [reason, setReason] = useState("");
  const allow = () => answer(request, { decision: "allow" });
  const always = () => answer(request, { decision: "allow", remember: "session" });
  const deny = () => answer(request, { decision: "deny", ...(reason.trim() && { message: reason.trim() }) });
  useEffect(() => {
    if (!first) return undefined;
    const keys = { y: allow, a: always, d: deny };
    const press = (event) => {
      if (event.target.closest?.("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
      keys[event.key]?.();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
  return html`<div class="ask"><p class="asks">${plain(request.title || request.tool)}</p>
    <${ToolInput} tool=${request.tool} input=${request.input} />
    <div class="buttons"><button class="primary" onClick=${allow}>Allow</button>
      <button onClick=${always} title="Allow the same for the rest of the session">Always</button>
      <button class="danger" onClick=${deny}>Deny</button></div>
    <input aria-label="Reason for denying" placeholder="Reason, sent with Deny" value=${reason}
      onInput=${(event) => setReason(event.target.value)} /></div>`;
}

function Question({ request, answer }) {
  const questions = request.input?.questions ?? [];
  const [chosen, setChosen] = useState({});
  const choose = (part, label) => {
    const old = chosen[part.question];
    if (!part.multiSelect) return setChosen({ ...chosen, [part.question]: label });
    const list = Array.isArray(old) ? old : [];
    return setChosen({ ...chosen, [part.question]: list.includes(label) ? list.filter((x) => x !== label) : [...list, label] });
  };
  const complete = questions.every((part) => chosen[part.question]?.length);
  return html`<form class="ask" onSubmit=${(event) => {
    event.preventDefault();
    answer(request, { decision: "allow", answers: chosen });
  }}>${questions.map((part, index) => html`<fieldset><legend>${plain(part.question)}</legend>
      ${(part.options ?? []).map((option) => html`<label class="option"><input type=${part.multiSelect ? "checkbox" : "radio"}
        name=${`${request.request_id}-${index}`} onChange=${() => choose(part, option.label)} />
        <span>${plain(option.label)} <small>${plain(option.description)}</small></span></label>`)}
      <input aria-label="Another answer" placeholder="Another answer" onInput=${(event) =>
        event.target.value && setChosen({ ...chosen, [part.question]: event.target.value })} /></fieldset>`)}
    <div class="buttons"><button class="primary" disabled=${!complete}>Answer</button>
      <button type="button" class="danger" onClick=${() => answer(request, { decision: "deny" })}>Decline</button></div></form>`;
}
