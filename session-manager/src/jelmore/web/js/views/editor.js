// A text that is changed where it stands: Enter or Save keeps it, Escape or Cancel leaves it as it was.
import { html, useLayoutEffect, useRef, useState } from "../lib.js";

export function useEditing() {
  // Returns whether the text is being changed, how to begin and end that, and the ref of the button that begins it: the focus
  // returns there.
  const [editing, setEditing] = useState(false);
  const button = useRef(null);
  const was = useRef(false);
  useLayoutEffect(() => {
    if (was.current && !editing) button.current?.focus();
    was.current = editing;
  }, [editing]);
  return [editing, setEditing, button];
}

export function Editor({ label, value, rows = 1, onSave, onClose, onDraft }) {
  // `onSave(text)` returns a promise of whether it was kept; while it was not, the text stays here.
  const [text, setText] = useState(value);
  const [busy, setBusy] = useState(false);
  const field = useRef(null);
  useLayoutEffect(() => field.current.select(), []);
  const save = async () => {
    if (busy || !text.trim()) return;
    if (text.trim() === value.trim()) return onClose();
    setBusy(true);
    if (await onSave(text.trim())) onClose();
    else setBusy(false);
  };
  const key = (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") onClose();
    else if (event.key === "Enter" && !event.shiftKey) save();
    else return;
    event.preventDefault();
    event.stopPropagation(); // it ends the change, not the turn
  };
  return html`<div class="editor"><textarea ref=${field} rows=${rows} aria-label=${label} value=${text} onKeyDown=${key} onInput=${(event) => {
    setText(event.target.value);
    onDraft?.(event.target.value);
  }}></textarea>
    <p class="buttons"><button class="primary" disabled=${busy || !text.trim()} onClick=${save}>Save</button><button onClick=${onClose}>Cancel</button></p></div>`;
}
