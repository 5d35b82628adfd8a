// The workspace: folders, a viewer for text, download and upload.
import { API, get, request, startOf } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { plain } from "../text.js";
import { attempt, mayWrite } from "../store.js";
import { Loading, useLoaded } from "./loaded.js";
import { size } from "./parts.js";

const MOST_SHOWN = 256 * 1024;
const TRANSFER_MS = 3_600_000;
const MOST_IMAGE = 10 * 1024 * 1024;
const IMAGES = { png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp" }; // no SVG: it is a document

const encoded = (path) => path.split("/").map(encodeURIComponent).join("/");
const placeOf = (id, path) => `/sessions/${id}/files/${encoded(path.replace(/\/$/, ""))}`;
const addressOf = (id, path) => API + placeOf(id, path);
const folderOf = (path) => path.slice(0, path.lastIndexOf("/") + 1);

export function pathOf(parts) {
  // Returns the path that the rest of an address names; a folder ends with a slash, and the workspace is "".
  try {
    const path = parts.map(decodeURIComponent).join("/");
    // A browser resolves these, also encoded: an address would lead to other calls of the API.
    return path.split("/").some((each) => each === "." || each === "..") ? "" : path;
  } catch {
    return "";
  }
}

async function read(id, path) {
  // Returns what a path names: {path, entries, more} of a folder, `more` when there are others; {path, image} or {path, text} of
  // a file, the text null when it is none, or too long to be shown.
  if (folderOf(path) === path) {
    const { entries, next } = await get(placeOf(id, path));
    return { path, entries, more: !!next };
  }
  const type = IMAGES[path.toLowerCase().split(".").at(-1)];
  const { bytes, more } = await startOf(placeOf(id, path), type ? MOST_IMAGE : MOST_SHOWN);
  if (more) return { path, text: null };
  if (type) return { path, image: new Blob([bytes], { type }) };
  return { path, text: bytes.includes(0) ? null : new TextDecoder().decode(bytes) };
}

export function Files({ id, path }) {
  // The path is a part of the page's address: a reload, a bookmark and a step back know it.
  const content = useLoaded(() => read(id, path), [id, path]);
  const go = (to) => (location.hash = `/s/${id}/files/${encoded(to)}`);
  const folder = folderOf(path);
  const upload = (chosen) => attempt(async () => {
    for (const each of chosen) await request(placeOf(id, folder + each.name), { method: "PUT", body: each, timeout: TRANSFER_MS });
    await content.load();
  });
  const drop = (event) => {
    event.preventDefault();
    if (mayWrite()) upload(event.dataTransfer.files);
  };
  const parents = folder.split("/").filter(Boolean);
  const { found } = content;
  const view = content.problem || !found ? html`<${Loading} of=${content} />`
    : found.entries ? html`<${Folder} folder=${found} open=${go} />
      <p class="buttons"><a download href=${`${addressOf(id, found.path)}?archive=zip`}>Download as zip</a>
        ${mayWrite() && html`<label class="attach upload"><span>Upload</span><input type="file" multiple aria-label="Upload" onChange=${(event) => upload([...event.target.files])} /></label>`}</p>`
      : html`<${Viewer} id=${id} file=${found} onClose=${() => go(folder)} />`;
  return html`<section class="files" aria-label="Files" onDragOver=${(event) => event.preventDefault()} onDrop=${drop}>
    <p class="crumbs"><button class="link" onClick=${() => go("")}>workspace</button>${parents.map((name, index) => html` / <button
      class="link" onClick=${() => go(`${parents.slice(0, index + 1).join("/")}/`)}>${plain(name)}</button>`)}</p>
    <div aria-busy=${!content.problem && found?.path !== path}>${view}</div></section>`;
}

function Folder({ folder: { path, entries, more }, open }) {
  if (entries.length === 0) return html`<p class="hint">The folder is empty.${mayWrite() && " Drop files here."}</p>`;
  return html`<ul class="list">${entries.map((each) => html`<li key=${each.encoded ?? each.name}>
    <button class="row entry" disabled=${each.type === "link" || each.type === "other" || !!each.encoded} onClick=${() => open(`${path}${each.name}${each.type === "directory" ? "/" : ""}`)}>
      <span class="title">${plain(each.name)}${each.type === "directory" ? "/" : ""}${each.target ? ` → ${plain(each.target)}` : ""}</span>
      <span class="age">${each.size === undefined ? "" : size(each.size)}</span></button></li>`)}</ul>
    ${more && html`<p class="hint">Only the first ${entries.length.toLocaleString()} are listed. Download them to see all.</p>`}`;
}

function Viewer({ id, file, onClose }) {
  return html`<div><p class="buttons"><b class="path">${plain(file.path)}</b><a download href=${addressOf(id, file.path)}>Download</a>
      <button onClick=${onClose}>Close</button></p>
    ${file.image ? html`<${Picture} blob=${file.image} name=${file.path} />` : file.text === null ? html`<p class="hint">Too large or not text.</p>` : html`<pre class="code" tabindex="0">${plain(file.text)}</pre>`}</div>`;
}

function Picture({ blob, name }) {
  const [address, setAddress] = useState(null);
  const [broken, setBroken] = useState(false);
  useEffect(() => {
    const made = URL.createObjectURL(blob);
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  if (broken) return html`<p class="hint">This is no picture that the browser can show.</p>`;
  return address && html`<img class="viewed" src=${address} alt=${plain(name)} onError=${() => setBroken(true)} />`;
}
