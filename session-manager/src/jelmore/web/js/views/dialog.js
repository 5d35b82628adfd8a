// The page's dialogs: a panel with content of its own, and the question before something that cannot be undone.
import { html, signal, useEffect, useLayoutEffect, useRef } from "../lib.js";
import { Said } from "./notices.js";

export function Panel({ title, label = title, onClose, children }) {
  // A dialog over the page. The page's own keys, such as `y` for allow, do not work behind it. What is refused is said in it.
  const box = useRef(null);
  useEffect(() => box.current.showModal(), []);
  return html`<dialog class="panel" ref=${box} aria-label=${label} onClose=${onClose} onKeyDown=${(event) => event.stopPropagation()}>
    <header><h2>${title}</h2><button class="link" onClick=${() => box.current.close()}>Close</button></header>
    <${Said} />${children}</dialog>`;
}

const asked = signal(null); // {title, text, act, answer}

export function sure(title, text, act) {
  // Returns a promise of whether the person pressed the button `act`. Escape and Cancel are no.
  asked.value?.answer(false);
  return new Promise((answer) => (asked.value = { title, text, act, answer }));
}

export function Dialog() {
  const box = useRef(null);
  const question = asked.value;
  useLayoutEffect(() => {
    if (question && !box.current.open) box.current.showModal();
  }, [question]);
  if (!question) return null;
  const close = () => {
    asked.value = null; // the browser has put the focus back to where it was
    question.answer(box.current.returnValue === "yes");
  };
  // The page's own keys, such as `y` for allow, do not work behind it.
  return html`<dialog class="sure" ref=${box} role="alertdialog" aria-labelledby="sure-title" aria-describedby="sure-text" onClose=${close}
      onKeyDown=${(event) => event.stopPropagation()}>
    <h2 id="sure-title">${question.title}</h2><p id="sure-text">${question.text}</p>
    <p class="buttons"><button autofocus onClick=${() => box.current.close("no")}>Cancel</button>
      <button class="danger" onClick=${() => box.current.close("yes")}>${question.act}</button></p></dialog>`;
}
