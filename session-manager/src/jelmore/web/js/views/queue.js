// The prompts that wait for the agent: each can be changed where it stands, or taken back.
import { call } from "../api.js";
import { html, useEffect, useRef } from "../lib.js";
import { plain } from "../text.js";
import { attempt, mayWrite } from "../store.js";
import { Editor, useEditing } from "./editor.js";

export function Queue({ id, follower, onLeft }) {
  // `onLeft(text)`: the agent has begun with a prompt while somebody was changing it; this is what they had written.
  const queued = follower.queued.value;
  const changing = useRef(null); // {id, text}
  useEffect(() => {
    const left = changing.current;
    if (!left || queued.some((each) => each.id === left.id)) return;
    changing.current = null;
    onLeft(left.text);
  }, [queued]);
  const draft = (of, text) => (changing.current = text === null ? null : { id: of, text });
  return queued.length > 0 && html`<ol class="queue" aria-label="Queued prompts">${queued.map((each) => html`<${Queued} key=${each.id} id=${id}
    prompt=${each} onChanged=${() => follower.askQueue()} onDraft=${(text) => draft(each.id, text)} />`)}</ol>`;
}

function Queued({ id, prompt, onChanged, onDraft }) {
  // `onChanged()`: the prompt is another or gone. No event says so while its session is being resumed for it.
  const [editing, setEditing, button] = useEditing();
  const text = plain(prompt.text);
  const path = `/sessions/${id}/queue/${encodeURIComponent(prompt.id)}`;
  const changing = (change) => attempt(change).finally(onChanged);
  const close = () => {
    onDraft(null);
    setEditing(false);
  };
  const save = async (input) => (await changing(() => call("PATCH", path, { input }))) !== undefined;
  if (editing) {
    return html`<li class="changing"><${Editor} label="Queued prompt" value=${prompt.text} rows=${2} onSave=${save} onClose=${close} onDraft=${onDraft} /></li>`;
  }
  return html`<li><span class="text" title=${text}>${text}</span>${mayWrite() && html`<button class="link" ref=${button}
      aria-label=${`Edit the queued prompt ${text.slice(0, 60)}`} onClick=${() => setEditing(true)}>Edit</button><button class="link"
      aria-label=${`Cancel the queued prompt ${text.slice(0, 60)}`} onClick=${() => changing(() => call("DELETE", path))}>Cancel</button>`}</li>`;
}
