// A session's events as rows. `Rows` is pure; `Follower` reads the stream, and older events when they are asked for.
import { API, get, isGuest } from "./api.js";
import { signal } from "./lib.js";
import { seen } from "./seen.js";

const FIRST = 400; // events that an opened session begins with: as many rows as a page holds, soon, also on a slow network
const TAIL = 1000; // how many older ones are loaded each time
const FLUSH_MS = 16;
const QUEUE_MS = 100;
const AGAIN_MS = 2000;
const UPLOAD = /(^|\/)\.jelmore-upload-[0-9a-f]+$/; // a file while it comes in
const MOST_NAMED = 200; // changed files in one row
const MISSING = " […] "; // in a text that is being written, for what came while the stream was away
const CONTENT = ["input", "input_changed", "input_cancelled", "said", "tool_used", "tool_ended", "permission_resolved", "turn_ended",
  "error", "interrupted", "exited", "file_modified", "git_activity", "permission_mode_changed", "conversation_started",
  "conversation_compacted", "rewound", "setup_started", "setup_output", "setup_ended"];

const rewoundParts = ({ files, conversation }) => (files && conversation ? "" : files ? ", only the files" : ", only the conversation");

const setupEnd = ({ text, outcome, omitted_bytes, exit_code, cause, duration_ms }) => {
  const omitted = omitted_bytes ? `… ${omitted_bytes} bytes are not kept …\n` : "";
  const code = exit_code == null ? "" : `, exit code ${exit_code}`;
  return `${omitted}${text ? `${text}\n` : ""}setup ${outcome}${code}${cause ? ` (${cause})` : ""} after ${(duration_ms / 1000).toFixed(1)} s`;
};

const ROWS = {
  input: (data) => ({ type: "user", text: data.input, by: data.by, id: data.id }),
  said: (data) => data.role === "assistant"
    && { type: data.thinking ? "thinking" : "assistant", text: data.text, child: data.parent_tool_use_id },
  tool_used: (data) => ({ type: "tool", id: data.tool_use_id, tool: data.tool, input: data.input, child: data.parent_tool_use_id }),
  permission_resolved: (data) => ({ type: "note", text: `${data.decision}${data.by ? ` by ${data.by}` : ""}` }),
  turn_ended: (data) => ({ type: "end", data }),
  error: (data) => ({ type: "error", text: `${data.code}: ${data.message}` }),
  interrupted: (data) => ({ type: "error", text: `the turn will not finish: ${data.cause}` }),
  exited: (data) => ({ type: "note", text: { hibernated: "hibernated", deleted: "somebody ended the session" }[data.reason] ?? `the agent ended: ${data.reason ?? data.exit_code}` }),
  file_modified: (data) => data.source === "filesystem" && !UPLOAD.test(data.path) && { type: "files", count: 1, changes: [`${data.op} ${data.path}`], op: data.op },
  git_activity: (data) => ({ type: "note", text: `git ${data.op} ${data.branch ?? ""}` }),
  permission_mode_changed: (data) => ({ type: "note", text: `permissions: ${data.mode}` }),
  rewound: (data) => ({ type: "note", text: `taken back to before prompt ${data.to_seq}${rewoundParts(data)}${data.by ? ` by ${data.by}` : ""}` }),
  setup_started: (data) => ({ type: "note", text: `setup: ${data.file ?? data.run}` }),
  setup_output: (data) => ({ type: "note", text: data.text }),
  setup_ended: (data) => ({ type: "note", text: setupEnd(data) }),
  conversation_started: (data) => ({ type: "note", text: data.reason === "cleared" ? "cleared: a new conversation" : "a new conversation" }),
  conversation_compacted: (data) => ({ type: "note", text: `compacted: the agent continues with a summary${data.before_tokens ? ` of ${data.before_tokens.toLocaleString()} tokens` : ""}` }),
};
// What a later event changes in the row of an earlier one, by the id that both name.
const CHANGES = {
  tool_ended: (data, seq) => [data.tool_use_id, { output: data.output, failed: data.failed, ended: seq }],
  input_changed: (data) => [data.id, { text: data.input }],
  input_cancelled: (data) => [data.id, { cancelled: true }],
};

export class Rows {
  // Rows in the order of their events, each with its event's seq as `key`. A row is replaced, never changed.
  constructor() {
    this.list = [];
    this.places = new Map(); // id of a tool's use or an input → index
    this.late = new Map(); // changes of rows that are older than what is here
  }

  add(events) {
    // Returns a new list with newer events at its end.
    const list = this.list.slice();
    for (const event of events) this.take(list, event);
    this.list = list;
    return list;
  }

  addOlder(events) {
    // Returns a new list with older events before it. What newer ones changed in them is applied.
    const older = new Rows();
    older.add(events);
    for (const [id, more] of this.late) {
      const index = older.places.get(id);
      if (index === undefined) continue;
      older.list[index] = { ...older.list[index], ...more };
      this.late.delete(id);
    }
    for (const [id, more] of older.late) this.late.set(id, { ...more, ...this.late.get(id) });
    this.list = [...older.list, ...this.list];
    this.places = new Map();
    this.list.forEach((row, index) => row.id && this.places.set(row.id, index));
    return this.list;
  }

  take(list, { seq, kind, at, data }) {
    const change = CHANGES[kind]?.(data, seq);
    if (change) {
      const [id, more] = change;
      const index = this.places.get(id);
      if (index === undefined) this.late.set(id, { ...this.late.get(id), ...more });
      else list[index] = { ...list[index], ...more };
      return;
    }
    const made = ROWS[kind]?.(data);
    if (!made) return;
    const last = list.at(-1);
    if (made.type === "files" && last?.type === "files") {
      list[list.length - 1] = { ...last, count: last.count + 1, op: last.op === made.op ? last.op : "changed",
        changes: last.count < MOST_NAMED ? [...last.changes, ...made.changes] : last.changes };
      return;
    }
    if (made.id) this.places.set(made.id, list.length);
    // The first row of a sub-agent after rows of another one says whose it is.
    const agent = made.child && list.at(-1)?.child !== made.child ? this.agentOf(list, made.child) : undefined;
    list.push({ key: seq, at, ...made, ...(agent && { agent }) });
  }

  agentOf(list, id) {
    const input = list[this.places.get(id)]?.input;
    return [input?.subagent_type, input?.description].filter((each) => typeof each === "string" && each).join(": ") || "Sub-agent";
  }
}

export function firstFrom(rows, key) {
  // Returns the index of the first row with this key or a later one.
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class Follower {
  // Reads a session's newest events and its stream into signals, until it is closed.
  constructor(session, from) {
    const newest = session.output_buffer_size ?? 0;
    this.id = session.id;
    this.seq = Math.max(0, Math.min(newest - FIRST, from ?? newest));
    this.earlier = signal(this.seq); // how many events are before the first one that is loaded
    this.model = new Rows();
    this.rows = signal([]);
    this.pending = signal([]);
    this.growing = signal("");
    this.running = signal(session.status === "active" || ["permission", "question"].includes(session.waiting_for));
    this.queued = signal([]);
    this.turns = signal(0); // how many have ended while the page looks
    this.context = signal(0); // tokens of the newest call of the model
    this.people = signal([]); // who has the session open, and how many more
    this.more = signal(0);
    this.buffer = [];
    this.grown = "";
    this.lost = () => {}; // called when the stream breaks
    this.source = null; // while nobody sees the page there is none
    if (this.seq > 0) this.loadPending();
    this.unwatch = seen.subscribe((is) => (is ? this.open() : this.rest()));
  }

  open() {
    // EventSource reconnects by itself from the last id, but not after a response that is an error, such as the proxy's
    // while the manager is away.
    this.rest(); // what waited for an answer of the server may come here after the page was seen again
    this.source = new EventSource(`${API}/sessions/${this.id}/stream?after=${this.seq}&attendance=true${isGuest() ? "&guest=true" : ""}`);
    this.source.addEventListener("event", (message) => this.take(JSON.parse(message.data)));
    this.source.addEventListener("hello", () => this.grown && this.grow({ event: { delta: { type: "text_delta", text: MISSING } } }));
    this.source.addEventListener("delta", (message) => this.grow(JSON.parse(message.data).data));
    this.source.addEventListener("attendance", (message) => this.meet(JSON.parse(message.data)));
    this.source.addEventListener("end", () => {
      this.flush(); // what came just before the end is not shown yet
      this.close();
    });
    this.source.addEventListener("error", ({ target }) => {
      if (target !== this.source) return;
      if (target.readyState === EventSource.CLOSED) this.reopen();
      this.lost();
    });
  }

  rest() {
    clearTimeout(this.again);
    this.source?.close();
    this.source = null;
  }

  reopen() {
    clearTimeout(this.again);
    this.again = setTimeout(async () => {
      const problem = await get(`/sessions/${this.id}`).then(() => null, (refused) => refused);
      if (this.closed || !seen.value) return;
      if (!problem) this.open();
      else if (problem.status === 0 || problem.status === 429 || problem.status >= 500) this.reopen();
    }, AGAIN_MS);
  }

  meet({ people, more }) {
    this.people.value = people;
    this.more.value = more;
  }

  async loadPending() {
    const known = await get(`/sessions/${this.id}/permissions`).catch(() => ({ pending: [] }));
    const there = new Set(this.pending.value.map((each) => each.request_id));
    this.pending.value = [...known.pending.filter((each) => !there.has(each.request_id)), ...this.pending.value];
  }

  async loadEarlier() {
    // Puts up to TAIL older events before the rows; raises a Problem. A second call waits for the first.
    this.loading ??= this.fetchEarlier().finally(() => (this.loading = undefined));
    return this.loading;
  }

  async fetchEarlier() {
    const end = this.earlier.value;
    const start = Math.max(0, end - TAIL);
    const kinds = CONTENT.map((kind) => `kind=${kind}`).join("&");
    const events = [];
    let after = start;
    while (after < end) {
      const page = await get(`/sessions/${this.id}/output?after=${after}&limit=${TAIL}&${kinds}`);
      events.push(...page.filter((each) => each.seq <= end));
      if (page.length === 0) break;
      after = page.at(-1).seq;
    }
    this.rows.value = this.model.addOlder(events);
    this.earlier.value = start;
  }

  take(event) {
    if (event.seq <= this.seq) return;
    this.seq = event.seq;
    if (["said", "turn_ended", "interrupted", "exited"].includes(event.kind)) this.grown = ""; // what follows belongs to the next text
    this.buffer.push(event);
    this.schedule();
  }

  grow(data) {
    const delta = data.event?.delta;
    if (delta?.type !== "text_delta" || data.parent_tool_use_id) return;
    this.grown += delta.text;
    this.schedule();
  }

  schedule() {
    this.timer ??= setTimeout(() => this.flush(), FLUSH_MS); // not an animation frame: a hidden page goes on too
  }

  flush() {
    this.timer = undefined;
    const seen = this.buffer;
    this.buffer = [];
    for (const event of seen) this.note(event);
    if (seen.length) this.rows.value = this.model.add(seen);
    this.growing.value = this.grown;
  }

  note({ kind, data }) {
    if (["input", "input_changed", "input_cancelled", "turn_ended", "interrupted", "exited", "state"].includes(kind)) this.askQueue();
    if (kind === "turn_ended" || kind === "interrupted") this.turns.value += 1;
    if (kind === "state") {
      this.running.value = data.state === "active" || ["permission", "question"].includes(data.waiting_for);
    } else if (kind === "message") {
      const usage = data.message?.type === "assistant" && !data.message.parent_tool_use_id && data.message.message?.usage;
      if (usage) this.context.value = contextOf(usage);
    } else if (kind === "permission_requested" || kind === "question") {
      this.pending.value = [...this.pending.value.filter((each) => each.request_id !== data.request_id), data];
    } else if (kind === "permission_resolved") {
      this.pending.value = this.pending.value.filter((each) => each.request_id !== data.request_id);
    } else if (kind === "exited") {
      this.running.value = false;
      this.pending.value = [];
    }
  }

  askQueue() {
    // The server knows what waits; what the events say of it is only a reason to ask.
    this.asking ??= setTimeout(async () => {
      this.asking = undefined;
      const found = await get(`/sessions/${this.id}/queue`).catch(() => null);
      if (found) this.queued.value = found.inputs.map((each) => ({ id: each.input_id, text: each.input }));
    }, QUEUE_MS);
  }

  close() {
    this.closed = true;
    this.unwatch();
    this.rest();
    clearTimeout(this.asking);
    this.asking = undefined; // what waits for the next start can still be asked for
    clearTimeout(this.timer);
  }
}

const contextOf = (usage) =>
  ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"].reduce((sum, name) => sum + (usage[name] ?? 0), 0);
