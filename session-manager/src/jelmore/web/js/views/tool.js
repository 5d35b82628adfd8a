// A use of a tool: what it was given, as text or as a diff, and what came out, folded.
import { get } from "../api.js";
import { html, useState } from "../lib.js";
import { plain, printed } from "../text.js";

const SUBJECTS = ["command", "file_path", "path", "pattern", "url", "description", "query", "prompt"];
const FOLD_LINES = 12;

const subjectOf = (input) => plain(SUBJECTS.map((name) => input?.[name]).find((each) => typeof each === "string") ?? "");

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
    (line, index) => html`<span key=${sign + index} class=${name}>${`${sign} ${line}\n`}</span>`);
  return html`<pre class="code diff">${lines(old, "-", "gone")}${lines(fresh, "+", "new")}</pre>`;
}

export function ToolCard({ id, row }) {
  const [images, setImages] = useState(null); // addresses of the pictures among the output, once somebody has opened it
  const output = textOf(row.output);
  const long = output.split("\n").length > FOLD_LINES;
  const open = (event) => event.target.open && row.ended && !images && output.includes(IMAGE_MARK)
    && imagesOf(id, row).then(setImages, () => setImages([])); // without them the mark stays
  return html`<details class=${`tool ${row.failed ? "failed" : ""}`} onToggle=${open}><summary><b>${plain(row.tool)}</b>
      <code>${subjectOf(row.input)}</code>${!row.ended && html`<span class="working" role="img" aria-label="running">…</span>`}</summary>
    <${ToolInput} tool=${row.tool} input=${row.input} />
    ${output && !(images?.length && output === IMAGE_MARK) && html`<pre class=${`code output ${long ? "long" : ""}`} tabindex="0">${printed(output)}</pre>`}
    ${(images ?? []).map((each) => html`<img src=${each} alt="Output of the tool" />`)}</details>`;
}

const IMAGE_MARK = "[image]"; // in place of a picture: `tool_ended` has only the text of an output
const SHOWN_IMAGES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const NEAR = 25; // entries around the end of a tool in which the agent's own message with its output is

async function imagesOf(id, { id: use, ended }) {
  // Returns the pictures of a tool's output as data addresses. Raises a Problem.
  const messages = await get(`/sessions/${id}/output?after=${Math.max(0, ended - NEAR)}&limit=${2 * NEAR}&kind=message`);
  return messages.map((each) => each.data.message?.message?.content).filter(Array.isArray).flat()
    .filter((block) => block.type === "tool_result" && block.tool_use_id === use && Array.isArray(block.content))
    .flatMap((block) => block.content.map(imageOf)).filter(Boolean);
}

function imageOf({ type, source }) {
  return type === "image" && source?.type === "base64" && SHOWN_IMAGES.includes(source.media_type)
    && `data:${source.media_type};base64,${source.data}`;
}

function textOf(output) {
  if (output === undefined || output === null) return "";
  return typeof output === "string" ? output : JSON.stringify(output);
}
