// What every view shares: who is signed in, the sessions as last seen, and whether the server answers.
import { API, Problem, call, get, isGuest, tellOfSlow } from "./api.js";
import { computed, signal } from "./lib.js";
import { asTheOne, seen } from "./seen.js";

export const me = signal(undefined); // undefined: not known yet; null: signed out
export const sessions = signal(new Map());
export const online = signal(true);
export const notice = signal("");
export const late = signal(false); // whether something that was asked of the server has no answer yet
export const gone = signal(new Set()); // ids of sessions that were there and are not any more
export const filter = signal(""); // words that the listed sessions have
export const tag = signal(""); // a tag that they have
export const archived = signal(false); // whether the list is that of the archived ones
export const cut = signal(false); // whether there are more than are listed

const GATHER_MS = 300;
const PAGE = 200;
const ANSWERS = ["permission", "question", "egress"]; // what a session may wait for from a person
const opened = new Map(); // ids of sessions that a page shows, with how many do
let feed = null;
let stays = false; // whether this tab follows also while nobody sees it: its name says how many sessions wait
let read = ""; // what went wrong when something was read again
const readings = new Set(); // for each list that is being read, the ids of the sessions that were read meanwhile

tellOfSlow((count) => (late.value = count > 0));
let dirty = new Set();
let gathering = null;

const matches = signal(null); // ids of the sessions that the server found for the filter; null without one
const listed = (session) => session.archived === archived.value && (!tag.value || session.tags.includes(tag.value))
  && (!matches.value || matches.value.has(session.id));
export const waiting = computed(() => [...sessions.value.values()].filter(waitsForMe));
export const tags = computed(() => [...new Set([...sessions.value.values()].flatMap((each) => each.tags))].sort());
export const ordered = computed(() =>
  [...sessions.value.values()].filter(listed).sort((a, b) => b.pinned - a.pinned || b.last_activity.localeCompare(a.last_activity)),
);

// Whether the page offers what changes something: a `readonly` key or group may look, not change.
export const mayWrite = () => isGuest() || me.value?.role !== "readonly";
export const waitsForMe = (session) =>
  session.status === "waiting_input" && ANSWERS.includes(session.waiting_for);
export const ended = (session) => ["terminated", "failed"].includes(session.status);
export const shortId = (id) => id.slice(-8);
export const titleOf = (session) => session.title || firstLine(session.query) || `Session ${shortId(session.id)}`;

const firstLine = (text) => (text || "").trim().split("\n")[0].slice(0, 80);

export async function start() {
  try {
    const who = await get("/me");
    if (me.value && me.value.id !== who.id) signedOut(); // somebody else has signed in, in another tab
    me.value = who;
    await load();
    follow();
    chooseWhen();
  } catch (problem) {
    if (problem instanceof Problem && problem.status === 0) {
      online.value = false;
      setTimeout(start, 2000);
    } else {
      me.value = null;
    }
  }
}

// The login is the browser's: who signs out of one tab is signed out of all, and nothing of theirs stays on the screen.
const tabs = new BroadcastChannel("jelmore.login");
tabs.onmessage = ({ data }) => {
  if (me.value === undefined) return; // a guest's page, or one that asks just now
  if (data === "in") start();
  else signedOut();
};

export async function signIn(key) {
  await call("POST", "/login", undefined, { "X-API-Key": key });
  await start();
  tabs.postMessage("in");
}

export async function signOut() {
  // Returns the address at which the person signs out at the identity provider too; null when there is none.
  const { provider_url: provider } = await call("POST", "/logout");
  signedOut();
  tabs.postMessage("out");
  return provider;
}

function signedOut() {
  rest();
  sessions.value = new Map();
  me.value = null;
}

export async function load() {
  const meanwhile = new Set();
  readings.add(meanwhile);
  await loadList(meanwhile).finally(() => readings.delete(meanwhile));
}

async function loadList(meanwhile) {
  const who = me.value?.id;
  const query = new URLSearchParams({ limit: PAGE, sort: "-last_activity", archived: archived.value });
  if (filter.value) query.set("q", filter.value);
  if (tag.value) query.append("tag", tag.value);
  const found = await get(`/sessions?${query}`);
  const full = found.length === PAGE;
  // What waits for somebody is in every list, and what they pinned is among the first, however long ago it was.
  const others = full || filter.value || tag.value || archived.value ? ANSWERS.map((each) => `limit=${PAGE}&waiting_for=${each}`) : [];
  if (full) others.push(`${query}&pinned=true`);
  const more = (await Promise.all(others.map((each) => get(`/sessions?${each}`)))).flat();
  if (me.value?.id !== who) return; // it is the list of somebody who has signed out meanwhile
  cut.value = full;
  matches.value = filter.value ? new Set(found.map((each) => each.id)) : null;
  // Whatever the list is filtered by; a session that an event told of meanwhile may be newer than the list.
  const kept = [...sessions.value.values()].filter((each) => opened.has(each.id) || meanwhile.has(each.id));
  sessions.value = new Map([...kept, ...more, ...found].map((each) => [each.id, newer(each)]));
}

export function keepOpen(id) {
  // A page shows this session until the function that is returned is called.
  opened.set(id, (opened.get(id) ?? 0) + 1);
  return () => (opened.get(id) > 1 ? opened.set(id, opened.get(id) - 1) : opened.delete(id));
}

export function remember(session) {
  for (const each of readings) each.add(session.id);
  const known = new Map(sessions.value);
  known.set(session.id, newer(session));
  sessions.value = known;
}

// Answers may arrive in another order than they were made in: the record with the higher version counts.
function newer(session) {
  const known = sessions.value.get(session.id);
  return known && known.version > session.version ? known : { pinned: false, ...session };
}

export async function refresh(id) {
  // Returns the session as it is now, null without it, undefined when nobody knows.
  try {
    const found = await get(`/sessions/${id}`);
    remember(found);
    return found;
  } catch (problem) {
    if (problem.status === 404) {
      const known = new Map(sessions.value);
      if (known.delete(id)) gone.value = new Set([...gone.value, id]);
      sessions.value = known;
      return null;
    }
    return undefined;
  }
}

export const change = (id, changes) =>
  attempt(async () => {
    await call("PATCH", `/sessions/${id}`, changes);
    await refresh(id);
    return true;
  });

function follow() {
  rest();
  if (!seen.value && !stays) return;
  feed = new EventSource(`${API}/events/stream?type=session.*&type=command.*`);
  let met = false; // a new stream begins with what happens from now on: what was before it is read after that
  feed.addEventListener("hello", () => {
    if (!met || !online.value) catchUp();
    met = true;
    online.value = true;
  });
  feed.addEventListener("event", (message) => {
    dirty.add(JSON.parse(message.data).session_id);
    gathering ??= setTimeout(gather, GATHER_MS);
  });
  feed.addEventListener("error", async ({ target }) => {
    if (target === feed && feed.readyState === EventSource.CLOSED) setTimeout(() => me.value && follow(), 2000);
    try {
      await get("/me");
    } catch (problem) {
      online.value = problem.status !== 0 && problem.status < 500;
      if (problem.status === 401) me.value = null;
    }
  });
}

function rest() {
  feed?.close();
  feed = null;
}

function goOn() {
  if (!me.value) return;
  follow();
  catchUp();
}

let chosen = false;

function chooseWhen() {
  // Decides from now on when this tab follows.
  if (chosen) return;
  chosen = true;
  seen.subscribe((is) => (is && !feed ? goOn() : !is && !stays && rest()));
  asTheOne((is) => {
    stays = is;
    if (is && !feed) goOn();
  });
}

function catchUp() {
  // What happened while the server was away.
  load().catch(() => {});
  for (const id of opened.keys()) refresh(id);
}

// A page that the browser kept and shows again, as after a step back, has lost its streams.
addEventListener("pageshow", (event) => {
  if (event.persisted) goOn();
});

async function gather() {
  const ids = dirty;
  dirty = new Set();
  gathering = null;
  for (const id of ids) await refresh(id);
}

export async function attempt(act) {
  try {
    notice.value = "";
    return await act();
  } catch (problem) {
    notice.value = problem.message;
    return undefined;
  }
}

export async function look(act) {
  // Reads again what a page shows, unasked: what an act of the person was refused for stays. That the server is away is said
  // once for all.
  try {
    const found = await act();
    if (notice.value === read) notice.value = "";
    read = "";
    return found;
  } catch (problem) {
    if (problem.status !== 0 && !notice.value) notice.value = read = problem.message;
    return undefined;
  }
}
