// The connection to a terminal: opens, counts the bytes, connects again and continues where it was. See docs/terminal.md.
const FINAL = { 4401: "Sign in again.", 4403: "You may not do this.", 4404: "There is no such session." };
const ENDED = 1000;
const PIECE_BYTES = 32 * 1024; // half of what the server takes in one frame
const MOST_EARLY_BYTES = 4096; // typed while a new shell starts
const REPLAYED_MS = 300; // a pause of this length ends the output that is sent again
const MOST_REPLAY_MS = 10_000; // output that never pauses is new by then
const MOST_BEHIND_BYTES = 8 * 1024 * 1024;
const [FIRST_DELAY_MS, MOST_DELAY_MS] = [500, 8000];

export class TerminalLink {
  // `on`: write(bytes, done), gap(), skipped(), size(), changed(), waiting(), closed(text). `keyboard`: {writer, by, watchers}.
  constructor(id, on) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.address = `${scheme}://${location.host}/api/v1/sessions/${id}/terminal`;
    this.on = on;
    this.instance = null;
    this.position = 0;
    this.keyboard = { writer: false, by: null, watchers: 0 };
    this.exit = null;
    this.problem = "";
    this.replays = false; // whether what arrives was already shown to somebody
    this.behind = 0; // bytes that were received and are not drawn yet
    this.delay = FIRST_DELAY_MS;
    this.early = []; // pieces that were typed before the connection to a new shell was there
  }

  connect() {
    const socket = new WebSocket(this.address);
    this.opened = false;
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.send({ type: "open", ...this.on.size(), ...this.again() });
      for (const bytes of this.early.splice(0)) this.type(bytes);
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.learn(JSON.parse(data)) : this.take(new Uint8Array(data)));
    socket.onclose = ({ code }) => this.socket === socket && this.lost(code);
  }

  again() {
    return this.instance === null ? {} : { instance: this.instance, after: this.position, take: this.keyboard.writer };
  }

  restart() {
    // Opens a new shell after the last one has ended.
    Object.assign(this, { instance: null, position: 0, exit: null, problem: "" });
    this.connect();
  }

  send(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  type(bytes) {
    if (this.socket?.readyState !== WebSocket.OPEN) return this.keep(bytes);
    if (this.keyboard.by !== null && !this.keyboard.writer) return undefined; // it would be refused
    for (let start = 0; start < bytes.length; start += PIECE_BYTES) this.socket.send(bytes.subarray(start, start + PIECE_BYTES));
    return undefined;
  }

  keep(bytes) {
    // What is typed while a connection is broken was meant for a screen that nobody saw: only a new shell gets it.
    const kept = this.early.reduce((sum, piece) => sum + piece.length, 0);
    if (this.instance === null && kept + bytes.length <= MOST_EARLY_BYTES) this.early.push(bytes);
  }

  take(bytes) {
    if (this.replays && performance.now() - this.replaysSince < MOST_REPLAY_MS) this.replay();
    this.position += bytes.length;
    this.behind += bytes.length;
    this.on.write(bytes, () => (this.behind -= bytes.length));
    // A browser cannot slow a WebSocket down. It leaves instead, and continues with what is kept then.
    if (this.behind > MOST_BEHIND_BYTES) this.socket.close();
  }

  replay() {
    if (!this.replays) this.replaysSince = performance.now();
    clearTimeout(this.replayed);
    this.replays = true;
    this.replayed = setTimeout(() => (this.behind > 0 ? this.replay() : (this.replays = false)), REPLAYED_MS);
  }

  get answers() {
    // Whether a program's question to its terminal is for this screen: one screen answers, and once.
    return this.keyboard.writer && !this.replays;
  }

  learn(frame) {
    if (frame.type === "opened") {
      if (!frame.new && (frame.gap || this.instance === null)) this.replay();
      if (frame.gap && this.instance !== null) this.on.gap();
      this.instance = frame.instance;
      this.position = frame.position;
      this.delay = FIRST_DELAY_MS;
      this.opened = true;
    }
    if (frame.type === "gap") {
      this.position = frame.position;
      this.on.skipped();
    }
    if (frame.type === "opened" || frame.type === "writer") {
      this.keyboard = { writer: frame.writer, by: frame.by, watchers: frame.watchers };
    }
    if (frame.type === "exit") this.exit = frame;
    if (frame.type === "error" && !this.opened) this.problem = frame.message; // the terminal is refused, not a key
    this.on.changed();
  }

  lost(code) {
    this.socket = null;
    const gone = this.exit !== null || code === ENDED || this.problem !== "";
    if (gone || FINAL[code]) this.early = [];
    if (gone || FINAL[code]) return this.on.closed(FINAL[code] ?? (this.exit ? "" : this.problem || "The session has ended."));
    this.on.waiting();
    setTimeout(() => this.connect(), this.delay);
    this.delay = Math.min(this.delay * 2, MOST_DELAY_MS);
    return undefined;
  }
}
