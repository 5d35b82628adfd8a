// A session's events as rows. Pure but for `Follower`, which reads the stream.
import { API } from "./api.js";
import { signal } from "./lib.js";

export function rowsAfter(rows, event) {
  // Returns the rows with `event` added. A tool's end joins the row of its use; settled rows are never changed else.
  const { seq, kind, at, data } = event;
  const row = (type, more) => [...rows, { key: seq, type, at, ...more }];
  switch (kind) {
    case "input":
      return row("user", { text: data.input, by: data.by, id: data.id });
    case "input_changed":
    case "input_cancelled":
      return rows.map((each) => each.type === "user" && each.id === data.id
        ? { ...each, text: data.input ?? each.text, cancelled: kind === "input_cancelled" } : each);
    case "said":
      if (data.role !== "assistant") return rows;
      return row(data.thinking ? "thinking" : "assistant", { text: data.text, child: !!data.parent_tool_use_id });
    case "tool_used":
      return row("tool", { id: data.tool_use_id, tool: data.tool, input: data.input, child: !!data.parent_tool_use_id });
    case "tool_ended": {
      const index = rows.findLastIndex((each) => each.type === "tool" && each.id === data.tool_use_id);
      if (index < 0) return rows;
      const copy = rows.slice();
      copy[index] = { ...rows[index], output: data.output, failed: data.failed, ended: true };
      return copy;
    }
    case "permission_resolved":
      return row("note", { text: `${data.decision}${data.by ? ` by ${data.by}` : ""}` });
    case "turn_ended":
      return row("end", { data });
    case "error":
      return row("error", { text: `${data.code}: ${data.message}` });
    case "interrupted":
      return row("error", { text: `the turn will not finish: ${data.cause}` });
    case "exited":
      return row("note", { text: `the agent ended: ${data.reason ?? data.exit_code}` });
    case "file_modified":
      return data.source === "filesystem" ? row("note", { text: `${data.op} ${data.path}` }) : rows;
    case "git_activity":
      return row("note", { text: `git ${data.op} ${data.branch ?? ""}` });
    default:
      return rows;
  }
}

export class Follower {
  // Reads the stream of one session into signals. EventSource reconnects by itself, from the last id.
  constructor(id) {
    this.rows = signal([]);
    this.pending = signal([]);
    this.growing = signal("");
    this.running = signal(false);
    this.queued = signal([]);
    this.seq = 0;
    this.buffer = [];
    this.source = new EventSource(`${API}/sessions/${id}/stream?after=0`);
    this.source.addEventListener("event", (message) => this.take(JSON.parse(message.data)));
    this.source.addEventListener("delta", (message) => this.grow(JSON.parse(message.data).data));
    this.source.addEventListener("end", () => this.close());
  }

  take(event) {
    if (event.seq <= this.seq) return;
    this.seq = event.seq;
    this.buffer.push(event);
    this.timer ??= requestAnimationFrame(() => this.flush());
  }

  flush() {
    this.timer = undefined;
    let rows = this.rows.value;
    const seen = this.buffer;
    this.buffer = [];
    for (const event of seen) {
      rows = rowsAfter(rows, event);
      this.note(event);
    }
    this.rows.value = rows;
  }

  note({ kind, data }) {
    if (kind === "said" || kind === "turn_ended") this.growing.value = "";
    if (kind === "input") {
      if (this.running.value) this.queued.value = [...this.queued.value, { id: data.id, text: data.input }];
      this.running.value = true;
    } else if (kind === "input_changed") {
      this.queued.value = this.queued.value.map((each) => (each.id === data.id ? { id: data.id, text: data.input } : each));
    } else if (kind === "input_cancelled") {
      this.queued.value = this.queued.value.filter((each) => each.id !== data.id);
    } else if (kind === "turn_ended" || kind === "interrupted") {
      this.running.value = this.queued.value.length > 0;
      this.queued.value = this.queued.value.slice(1);
    } else if (kind === "permission_requested" || kind === "question") {
      this.pending.value = [...this.pending.value, data];
    } else if (kind === "permission_resolved") {
      this.pending.value = this.pending.value.filter((each) => each.request_id !== data.request_id);
    } else if (kind === "exited") {
      this.running.value = false;
      this.pending.value = [];
    }
  }

  grow(data) {
    const delta = data.event?.delta;
    if (delta?.type === "text_delta" && !data.parent_tool_use_id) this.growing.value += delta.text;
  }

  close() {
    this.source.close();
  }
}
