// What a page reads from the server at first, and again when it asks for it or the server is back.
import { html, useEffect, useRef, useState } from "../lib.js";
import { online } from "../store.js";

export function useLoaded(read, about) {
  // Returns {found, problem, load}: what `read()` gave last, null before that, and what went wrong since, "" for nothing. With a
  // problem, `found` may be of an earlier `about`.
  // `about`: as of useEffect. A late answer does not replace a newer one.
  const [state, setState] = useState({ found: null, problem: "" });
  const newest = useRef(0);
  const load = async () => {
    const mine = (newest.current += 1);
    const next = await read().then((found) => ({ found, problem: "" }), ({ message }) => ({ problem: message }));
    if (mine === newest.current) setState((before) => ({ ...before, ...next }));
  };
  const is = online.value;
  const away = useRef(false);
  useEffect(() => {
    load();
  }, about);
  useEffect(() => {
    if (is && away.current) load();
    away.current = !is;
  }, [is]);
  useEffect(() => () => (newest.current = -1), []);
  return { ...state, load };
}

// In the place of what could not be read yet.
export const Loading = ({ of }) => (of.problem
  ? html`<p class="hint" role="status">${of.problem} <button onClick=${of.load}>Try again</button></p>` : html`<p class="hint">Loading …</p>`);
