// The workspace: folders, a viewer for text, download and upload.
import { API, request } from "../api.js";
import { html, useEffect, useState } from "../lib.js";
import { plain } from "../text.js";
import { attempt, mayWrite } from "../store.js";
import { Loading, useLoaded } from "./loaded.js";
import { size } from "./parts.js";

const MOST_SHOWN = 256 * 1024;
const TRANSFER_MS = 3_600_000;
const MOST_IMAGE = 10 * 1024 * 1024;
const IMAGES = { png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp" }; // no SVG: it is a document

const placeOf = (id, path) => `/sessions/${id}/files/${path.split("/").filter(Boolean).map(encodeURIComponent).join("/")}`;
const addressOf = (id, path) => API + placeOf(id, path);

export function Files({ id }) {
  const [path, setPath] = useState("");
  const listing = useLoaded(async () => ({ path, entries: (await (await request(placeOf(id, path))).json()).entries }), [id, path]);
  const [file, setFile] = useState(null);
  useEffect(() => setFile(null), [id, path]);
  const open = (entry) => {
    const place = path ? `${path}/${entry.name}` : entry.name;
    if (entry.type === "directory") return setPath(place);
    const image = IMAGES[entry.name.toLowerCase().split(".").at(-1)];
    return attempt(async () => {
      if (image && entry.size <= MOST_IMAGE) {
        const content = await (await request(placeOf(id, place))).arrayBuffer();
        return setFile({ place, image: new Blob([content], { type: image }) });
      }
      if (entry.size > MOST_SHOWN) return setFile({ place, text: null });
      const content = new Uint8Array(await (await request(placeOf(id, place))).arrayBuffer());
      return setFile({ place, text: content.includes(0) ? null : new TextDecoder().decode(content) });
    });
  };
  const upload = (chosen) => attempt(async () => {
    for (const each of chosen) {
      await request(placeOf(id, path ? `${path}/${each.name}` : each.name), { method: "PUT", body: each, timeout: TRANSFER_MS });
    }
    await listing.load();
  });
  const drop = (event) => {
    event.preventDefault();
    if (mayWrite()) upload(event.dataTransfer.files);
  };
  const parents = path.split("/").filter(Boolean);
  return html`<section class="files" aria-label="Files" onDragOver=${(event) => event.preventDefault()} onDrop=${drop}>
    <p class="crumbs"><button class="link" onClick=${() => setPath("")}>workspace</button>${parents.map((name, index) => html` / <button
      class="link" onClick=${() => setPath(parents.slice(0, index + 1).join("/"))}>${plain(name)}</button>`)}</p>
    ${file ? html`<${Viewer} id=${id} file=${file} onClose=${() => setFile(null)} />` : html`<${Folder} listing=${listing} path=${path} open=${open} />
      <p class="buttons"><a download href=${`${addressOf(id, path)}?archive=zip`}>Download as zip</a>
        ${mayWrite() && html`<label class="attach upload"><span>Upload</span><input type="file" multiple aria-label="Upload" onChange=${(event) => upload([...event.target.files])} /></label>`}</p>`}</section>`;
}

function Folder({ listing, path, open }) {
  if (listing.found?.path !== path || listing.problem) return html`<${Loading} of=${listing} />`;
  const { entries } = listing.found;
  if (entries.length === 0) return html`<p class="hint">The folder is empty.${mayWrite() && " Drop files here."}</p>`;
  return html`<ul class="list">${entries.map((each) => html`<li key=${each.name}>
    <button class="row entry" disabled=${each.type === "link" || each.type === "other"} onClick=${() => open(each)}>
      <span class="title">${plain(each.name)}${each.type === "directory" ? "/" : ""}${each.target ? ` → ${plain(each.target)}` : ""}</span>
      <span class="age">${each.size === undefined ? "" : size(each.size)}</span></button></li>`)}</ul>`;
}

function Viewer({ id, file, onClose }) {
  return html`<div><p class="buttons"><b class="path">${plain(file.place)}</b><a download href=${addressOf(id, file.place)}>Download</a>
      <button onClick=${onClose}>Close</button></p>
    ${file.image ? html`<${Picture} blob=${file.image} name=${file.place} />` : file.text === null ? html`<p class="hint">Too large or not text.</p>` : html`<pre class="code" tabindex="0">${plain(file.text)}</pre>`}</div>`;
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
