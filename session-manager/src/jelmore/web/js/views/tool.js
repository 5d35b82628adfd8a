// A use of a tool: what it was given, as text or as a diff, and what came out, folded.
import { html } from "../lib.js";
import { plain, printed } from "../markdown.js";

const SUBJECTS = ["command", "file_path", "path", "pattern", "url", "description", "query", "prompt"];
const FOLD_LINES = 12;

export const subjectOf = (input) => plain(SUBJECTS.map((name) => input?.[name]).find((each) => typeof each === "string") ?? "");

export function ToolInput({ tool, input }) {
  if (!input) return null;
  if (tool === "Bash" || typeof input.command === "string") return html`<pre class="code">${plain(input.command)}</pre>`;
  if ("old_string" in input || "new_string" in input) {
    return html`<div><p class="path">${plain(input.file_path)}</p><${Diff} old=${input.old_string} fresh=${input.new_string} /></div>`;
  }
  if (tool === "Write") return html`<div><p class="path">${plain(input.file_path)}</p><${Diff} fresh=${input.content} /></div>`;
  return html`<pre class="code">${plain(JSON.stringify(input, null, 2))}</pre>`;
}

function Diff({ old, fresh }) {
  const lines = (text, sign, name) => (text ? plain(text).split("\n") : []).map(
    (line, index) => html`<span key=${sign + index} class=${name}>${sign} ${line}\n</span>`);
  return html`<pre class="code diff">${lines(old, "-", "gone")}${lines(fresh, "+", "new")}</pre>`;
}

export function ToolCard({ row }) {
  const output = textOf(row.output);
  const images = Array.isArray(row.output) ? row.output.map(imageOf).filter(Boolean) : [];
  const long = output.split("\n").length > FOLD_LINES;
  return html`<details class=${`tool ${row.failed ? "failed" : ""}`}><summary><b>${plain(row.tool)}</b>
      <code>${subjectOf(row.input)}</code>${!row.ended && html`<span class="working" role="img" aria-label="running">…</span>`}</summary>
    <${ToolInput} tool=${row.tool} input=${row.input} />
    ${output && html`<pre class=${`code output ${long ? "long" : ""}`} tabindex="0">${printed(output)}</pre>`}
    ${images.map((each) => html`<img src=${each} alt="Output of the tool" />`)}</details>`;
}

const SHOWN_IMAGES = ["image/png", "image/jpeg", "image/gif", "image/webp"];

function imageOf(block) {
  const source = block?.type === "image" && block.source;
  return source?.type === "base64" && SHOWN_IMAGES.includes(source.media_type) && `data:${source.media_type};base64,${source.data}`;
}

function textOf(output) {
  if (output === undefined || output === null) return "";
  if (typeof output === "string") return output;
  if (Array.isArray(output)) return output.filter((each) => !imageOf(each)).map((each) => each?.text ?? `[${each?.type}]`).join("\n");
  return JSON.stringify(output);
}
