// One session: transcript, what waits, and the composer.
import { html, useEffect, useState } from "../lib.js";
import { plain } from "../text.js";
import { ended, gone, keepOpen, mayWrite, refresh, sessions } from "../store.js";
import { Follower } from "../transcript.js";
import { Changes } from "./changes.js";
import { Composer, Looking, Over } from "./composer.js";
import { Files, pathOf } from "./files.js";
import { Head } from "./head.js";
import { PendingCards } from "./pending.js";
import { Settings } from "./settings.js";
import { Timeline } from "./timeline.js";
import { Transcript, keptPlace } from "./transcript.js";

const TABS = ["conversation", "changes", "files", "events", "settings"];
const AGAIN_MS = 2000; // after a server that did not answer

export const tabOf = (name) => (TABS.includes(name) ? name : "conversation");

export function SessionPage({ id, tab, rest }) {
  const [follower, setFollower] = useState(null);
  const [missing, setMissing] = useState(false);
  const session = sessions.value.get(id);
  const isOver = session && ended(session);
  useEffect(() => keepOpen(id), [id]);
  useEffect(keepInSight, []);
  useEffect(() => {
    let made = null;
    let left = false;
    let timer = null;
    const begin = async () => {
      const found = await refresh(id);
      if (left) return;
      setMissing(found === null);
      if (found === undefined) timer = setTimeout(begin, AGAIN_MS);
      if (!found) return;
      const place = keptPlace(id);
      made = new Follower(found, place && place.key - 1);
      setFollower(made);
    };
    begin();
    return () => {
      left = true;
      clearTimeout(timer);
      made?.close();
    };
  }, [id, isOver]);
  useEffect(() => {
    // Inputs that wait for the session's start have no output that would tell of them.
    if (follower && (session?.pending_inputs || follower.queued.value.length > 0)) follower.askQueue();
  }, [follower, session?.pending_inputs, session?.status]);
  if (!session && gone.value.has(id)) return html`<${None}><p class="notice" role="alert">This session was erased, or you may not see it any more.</p><//>`;
  if (missing && !session) return html`<${None}><p class="notice">There is no session ${plain(id)}, or you may not see it.</p><//>`;
  if (!session || !follower) return html`<main><p class="loading">Loading …</p></main>`;
  const parts = {
    conversation: () => html`<${Transcript} follower=${follower} />`,
    changes: () => html`<${Changes} session=${session} turns=${follower.turns.value} />`,
    files: () => html`<${Files} id=${id} path=${pathOf(rest)} />`,
    events: () => html`<${Timeline} session=${session} />`,
    settings: () => html`<${Settings} session=${session} />`,
  };
  return html`<main class="session"><${Head} session=${session} follower=${follower} />
    <nav class="tabs" aria-label="Parts of the session">${TABS.map((name) => html`<a href=${`#/s/${id}/${name}`}
      aria-current=${tab === name ? "page" : undefined}>${name}</a>`)}${!isOver && html`<a href=${`/ui/terminal.html#${id}`}>terminal</a>`}</nav>
    ${parts[tab]()}
    <div class="asking" aria-live="polite"><${PendingCards} id=${id} pending=${follower.pending.value} /></div>
    ${isOver ? html`<${Over} session=${session} follower=${follower} />` : !mayWrite() ? html`<${Looking} id=${id} follower=${follower} />` : html`<${Composer} id=${id} follower=${follower}
      onSent=${() => tab !== "conversation" && (location.hash = `/s/${id}/conversation`)} />`}</main>`;
}

const None = ({ children }) => html`<main><h1>No session</h1>${children}<p><a href="#/">Inbox and sessions</a></p></main>`;

function keepInSight() {
  // What gets the focus is not behind the composer, which grows with the queue and stays at the lower edge.
  const root = document.documentElement;
  const watch = new ResizeObserver(([{ target }]) => (root.style.scrollPaddingBottom = `${target.isConnected ? target.offsetHeight : 0}px`));
  const look = () => {
    const composer = document.querySelector(".composer");
    if (composer === seen) return;
    watch.disconnect();
    if ((seen = composer)) watch.observe(composer);
  };
  let seen = null;
  const changes = new MutationObserver(look);
  changes.observe(document.querySelector("#app"), { childList: true, subtree: true });
  look();
  return () => {
    changes.disconnect();
    watch.disconnect();
    root.style.scrollPaddingBottom = "";
  };
}
