// What the session changed, by file, with comments on lines that go along with the next prompt.
import { get, newId, startOf } from "../api.js";
import { commentsOf, setComments } from "../comments.js";
import { MAX_BYTES, clipped, keyOf, parseDiff, placed, visible } from "../diff.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../lib.js";
import { mayWrite } from "../store.js";
import { PushForm } from "./push.js";

const OPEN_LINES = 400; // a longer file is folded at first
const OPEN_TOTAL = 2000;
const STEP_LINES = 1000;
const GATHER_MS = 200;

async function patchOf(path) {
  // Returns a diff as text, up to a whole line, and whether there is more.
  const { bytes, more } = await startOf(path, MAX_BYTES, { timeout: 120_000 });
  const text = new TextDecoder().decode(bytes);
  return { text: more ? text.slice(0, text.lastIndexOf("\n") + 1) : text, more };
}

function useChanges(id, against, turns) {
  // Loads the diff at first, when `against` changes, and after each turn; a load that was overtaken is dropped.
  const [found, setFound] = useState({ state: "loading" });
  const newest = useRef(0);
  const load = async () => {
    const mine = (newest.current += 1);
    const query = against ? `against=${encodeURIComponent(against)}&` : "";
    let result;
    try {
      const [shown, patch] = await Promise.all([
        get(`/sessions/${id}/diff?${query}format=json`), patchOf(`/sessions/${id}/diff?${query}format=unified`)]);
      result = { state: "there", shown, files: joined(shown.files, parseDiff(patch.text)), more: patch.more };
    } catch (problem) {
      result = { state: "failed", message: problem.message };
    }
    if (mine === newest.current) setFound(result);
  };
  useEffect(() => {
    const timer = setTimeout(load, found.state === "loading" ? 0 : GATHER_MS);
    return () => clearTimeout(timer);
  }, [id, against, turns]);
  return [found, load];
}

function joined(stats, parsed) {
  // Returns every file of the statistics, with the lines that were read of it.
  const lines = new Map(parsed.map((each) => [each.path, each]));
  return stats.map((each) => ({ ...each, oldPath: each.old_path, hunks: lines.get(each.path)?.hunks ?? [] }));
}

export function Changes({ session, turns }) {
  const id = session.id;
  const start = session.repository ? "start" : "";
  const [against, setAgainst] = useState(start);
  const [found, load] = useChanges(id, against, turns);
  const [folded, setFolded] = useState({});
  const [editing, setEditing] = useState(null); // the comment being written: opened by a click, never by a load
  const comments = commentsOf(id);
  const files = found.files ?? [];
  const total = files.reduce((sum, each) => sum + each.additions + each.deletions, 0);
  const places = useMemo(() => placed(files, comments.value), [files, comments.value]);
  const isOpen = (file) => folded[file.path] ?? (file.additions + file.deletions <= OPEN_LINES && total <= OPEN_TOTAL);
  const edits = {
    editing,
    edit: setEditing,
    add: (path, line) => {
      const made = { id: newId(), path, side: line.side, line: line.number, code: line.text, text: "" };
      setComments(id, [...comments.value.filter((each) => each.text.trim()), made]);
      setEditing(made.id);
    },
    write: (one, text) => setComments(id, comments.value.map((each) => (each.id === one ? { ...each, text } : each))),
    drop: (one) => setComments(id, comments.value.filter((each) => each.id !== one)),
    done: () => {
      setEditing(null);
      setComments(id, comments.value.filter((each) => each.text.trim()));
    },
  };
  const all = (open) => setFolded(Object.fromEntries(files.map((each) => [each.path, open])));
  return html`<section class="changes" aria-label="Changes">
    <div class="tools"><${Against} session=${session} value=${against} onChange=${setAgainst} />
      <button onClick=${load}>Refresh</button>
      ${files.length > 1 && html`<button onClick=${() => all(true)}>Unfold all</button><button onClick=${() => all(false)}>Fold all</button>`}</div>
    <${Summary} found=${found} />
    ${places.gone.length > 0 && found.state === "there" && html`<div class="card"><h2>Comments on lines that are gone</h2>
      ${places.gone.map((each) => html`<div key=${each.id}><p class="path">${visible(each.path)}:${each.line}</p>
        <pre class="code">${visible(clipped(each.code))}</pre><${Comment} comment=${each} edits=${edits} /></div>`)}</div>`}
    ${files.map((file) => html`<${FileChanges} key=${file.path} file=${file} open=${isOpen(file)} places=${places.byKey} edits=${edits}
      onFold=${() => setFolded({ ...folded, [file.path]: !isOpen(file) })} />`)}
    ${found.state === "there" && mayWrite() && html`<${PushForm} session=${session} onDone=${load} />`}</section>`;
}

function Against({ session, value, onChange }) {
  const [commit, setCommit] = useState(null); // null: one of the names; else the text of another commit
  const choose = (event) => {
    const chosen = event.target.value;
    setCommit(chosen === "other" ? "" : null);
    if (chosen !== "other") onChange(chosen);
  };
  return html`<label>Since <select value=${commit === null ? value : "other"} onChange=${choose}>
      ${session.repository && html`<option value="start">the start of the session</option>`}
      <option value="">the last commit</option><option value="other">another commit …</option></select></label>
    ${commit !== null && html`<form class="inline" onSubmit=${(event) => {
      event.preventDefault();
      if (commit.trim()) onChange(commit.trim());
    }}><input aria-label="Commit, branch or tag" placeholder="Commit, branch or tag" value=${commit}
      onInput=${(event) => setCommit(event.target.value)} /><button>Compare</button></form>`}`;
}

function Summary({ found }) {
  if (found.state === "loading") return html`<p class="loading">Loading …</p>`;
  if (found.state === "failed") return html`<p class="hint" role="status">${found.message}</p>`;
  const { shown, more } = found;
  const parts = [shown.truncated && "only the first 5,000 files are listed", more && "the lines of later files are too many to show here"];
  return html`<p class="hint" role="status">${shown.changed === 0 ? "No changes" : shown.changed === 1 ? "1 file" : `${shown.changed.toLocaleString()} files`}
    ${shown.changed > 0 && html` <${Counts} of=${shown} />`} since <code>${shown.base.slice(0, 8)}</code>
    ${parts.filter(Boolean).map((each) => html`<br />${each}`)}</p>`;
}

const Counts = ({ of }) => html`<span class="counts"><span class="new">+${of.additions.toLocaleString()}</span> <span
  class="old">-${of.deletions.toLocaleString()}</span></span>`;

function FileChanges({ file, open, places, edits, onFold }) {
  const [most, setMost] = useState(STEP_LINES);
  const name = visible(file.path);
  const count = file.hunks.reduce((sum, hunk) => sum + hunk.lines.length, 0);
  let left = most;
  const shown = file.hunks.map((hunk) => {
    const lines = hunk.lines.slice(0, Math.max(0, left));
    left -= hunk.lines.length;
    return { ...hunk, lines };
  });
  return html`<article class="change" aria-label=${name}><h2><button aria-expanded=${open} onClick=${onFold}>
      <span class="name">${file.oldPath ? `${visible(file.oldPath)} → ` : ""}${name}</span>
      <span class="what">${file.status === "modified" ? "" : file.status.replace("_", " ")}</span>${file.binary ? html`<span class="what">binary</span>` : html`<${Counts} of=${file} />`}</button></h2>
    ${open && html`<div class="lines" onKeyDown=${moveBetweenLines}>
      ${count === 0 && html`<p class="hint">${file.binary ? "A binary file." : "No lines to show."}</p>`}
      ${shown.map((hunk, index) => hunk.lines.length > 0 && html`<${Hunk} key=${index} path=${file.path} hunk=${hunk} first=${index === 0}
        places=${places} edits=${edits} />`)}
      ${count > most && html`<button class="more" onClick=${() => setMost(most + STEP_LINES)}>${(count - most).toLocaleString()} more lines</button>`}</div>`}
    </article>`;
}

function moveBetweenLines(event) {
  // One stop of the Tab key for each file; arrows go from line to line.
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !event.target.matches("button.number")) return;
  event.preventDefault();
  const all = [...event.currentTarget.querySelectorAll("button.number")];
  all[all.indexOf(event.target) + step]?.focus();
}

function Hunk({ path, hunk, first, places, edits }) {
  return html`<div class="hunk"><p class="title">${hunk.title ? visible(clipped(hunk.title)) : `line ${hunk.start}`}</p>
    ${hunk.lines.map((line, index) => html`<${Line} key=${index} path=${path} line=${line} stop=${first && index === 0}
      comments=${places.get(keyOf(path, line))} edits=${edits} />`)}</div>`;
}

const SIGNS = { new: "+", old: "-", same: " " };

function Line({ path, line, stop, comments, edits }) {
  const where = `${line.side === "old" ? "removed line" : line.side === "new" ? "added line" : "line"} ${line.number}`;
  return html`<div class=${`line ${line.side}`}>${mayWrite() ? html`<button class="number" tabindex=${stop ? 0 : -1} aria-label=${`Comment on ${where}`}
      onClick=${() => edits.add(path, line)}>${line.number}</button>` : html`<span class="number">${line.number}</span>`}<code>${SIGNS[line.side]}${visible(clipped(line.text))}</code></div>
    ${comments?.map((each) => html`<${Comment} key=${each.id} comment=${each} edits=${edits} />`)}`;
}

function Comment({ comment, edits }) {
  const field = useRef(null);
  const open = edits.editing === comment.id;
  useLayoutEffect(() => {
    if (open) field.current?.focus();
  }, [open]);
  const key = (event) => {
    if (event.key === "Escape" || (event.key === "Enter" && (event.ctrlKey || event.metaKey))) {
      event.stopPropagation();
      edits.done();
    }
  };
  const drop = html`<button onClick=${() => edits.drop(comment.id)}>Remove</button>`;
  if (!open) {
    return html`<div class="comment"><p>${comment.text}</p><p class="buttons"><button onClick=${() => edits.edit(comment.id)}>Edit</button>${drop}</p></div>`;
  }
  return html`<div class="comment"><textarea ref=${field} rows="3" aria-label="Comment" placeholder="Comment, goes along with the next prompt"
      value=${comment.text} onKeyDown=${key} onInput=${(event) => edits.write(comment.id, event.target.value)}></textarea>
    <p class="buttons"><button onClick=${edits.done}>Done</button>${drop}</p></div>`;
}
