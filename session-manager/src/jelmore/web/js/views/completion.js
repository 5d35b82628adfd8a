// What a prompt may be completed with while it is written: slash commands at its start, and paths after an `@`.
import { get } from "../api.js";
import { html, useEffect, useRef, useState } from "../lib.js";
import { plain } from "../text.js";

const MOST = 8;
const COMMAND = /^\/([\w:.-]*)$/;
const PATH = /(?:^|\s)@([^\s@]*)$/;

export function useCompletion(id, write) {
  // Returns what to show and how to react. `expands(text)`: the agent is to run its command or read its files.
  const [found, setFound] = useState(null); // {start, end, options: [{text, hint}]}
  const [at, setAt] = useState(0);
  const newest = useRef(0);
  const known = useRef(null); // the commands, asked for once
  const chosen = useRef(new Set()); // paths that were completed
  useEffect(() => {
    known.current = null;
    chosen.current = new Set();
    setFound(null);
  }, [id]);
  const commands = async () => (known.current ??= (await get(`/sessions/${id}/commands`)).commands);
  const look = async (text, caret) => {
    const mine = (newest.current += 1); // a late answer must not replace a newer one
    const before = text.slice(0, caret);
    const [, command] = COMMAND.exec(before) ?? [];
    const [, path] = PATH.exec(before) ?? [];
    let options = [];
    try {
      if (command !== undefined) options = fitting(await commands(), command);
      else if (path !== undefined) options = await paths(id, path);
    } catch {
      options = []; // a session that is not awake has none to show
    }
    if (mine !== newest.current) return;
    setAt(0);
    setFound(options.length ? { start: caret - (command ?? path).length, end: caret, options } : null);
  };
  const choose = (text, option) => {
    const end = option.text.endsWith("/") ? "" : " ";
    if (text[found.start - 1] === "@") chosen.current.add(option.text);
    const made = text.slice(0, found.start) + option.text + end;
    write(made + text.slice(found.end));
    setFound(null);
    if (!end) look(made, made.length);
  };
  const key = (event, text) => {
    // Returns whether the key was for the suggestions.
    if (!found || event.isComposing) return false;
    const count = found.options.length;
    const act = { ArrowDown: () => setAt((at + 1) % count), ArrowUp: () => setAt((at + count - 1) % count), Escape: () => setFound(null),
      Tab: () => choose(text, found.options[at]), Enter: () => choose(text, found.options[at]) }[event.key];
    if (event.key === "Enter" && found.options[at].text === text.slice(found.start, found.end)) {
      if (text[found.start - 1] === "@") chosen.current.add(found.options[at].text);
      setFound(null);
      return false; // it is complete: send it
    }
    if (!act || event.shiftKey || event.ctrlKey || event.metaKey) return false;
    event.preventDefault();
    act();
    return true;
  };
  const expands = (text) => {
    const [, name] = /^\/([\w:.-]+)(?=\s|$)/.exec(text) ?? [];
    return (known.current ?? []).some((each) => each.name === name) || [...chosen.current].some((path) => text.includes(`@${path}`));
  };
  return { found, at, look, choose, key, expands, close: () => setFound(null) };
}

export function Suggestions({ completion, text, onChosen }) {
  return completion.found && html`<ul class="suggestions" aria-label="Suggestions">${completion.found.options.map((each, index) => html`<li key=${each.text}>
    <button type="button" class=${index === completion.at ? "chosen" : ""} onClick=${() => {
      completion.choose(text, each);
      onChosen();
    }}><b>${plain(each.text)}</b> <small>${plain(each.hint)}</small></button></li>`)}</ul>`;
}

function fitting(commands, typed) {
  const rank = (name) => (name.startsWith(typed) ? 0 : 1);
  return commands.filter((each) => each.name.includes(typed)).sort((one, other) => rank(one.name) - rank(other.name)).slice(0, MOST)
    .map((each) => ({ text: each.name, hint: each.description ?? "" }));
}

async function paths(id, typed) {
  const folder = typed.slice(0, typed.lastIndexOf("/") + 1);
  const address = folder.split("/").filter(Boolean).map(encodeURIComponent).join("/");
  const { entries } = await get(`/sessions/${id}/files/${address}`);
  return entries.map((each) => `${folder}${each.name}${each.type === "directory" ? "/" : ""}`)
    .filter((each) => each.toLowerCase().startsWith(typed.toLowerCase()) && !/\s/.test(each)).slice(0, MOST).map((text) => ({ text, hint: "" }));
}
