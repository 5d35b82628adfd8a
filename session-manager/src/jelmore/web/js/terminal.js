// The terminal's page: a screen, its connection, and a line that says who types. The fragment of the address is the session.
import { get } from "./api.js";
import { FitAddon } from "../vendor/xterm-fit.js";
import { Terminal } from "../vendor/xterm.js";
import { TerminalLink } from "./terminal_link.js";
import { plain } from "./text.js";

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const ARROWS = { "←": "D", "↑": "A", "↓": "B", "→": "C" };
const KEYS = ["Esc", "Tab", "Ctrl", ...Object.keys(ARROWS)]; // a phone has none of them
const id = location.hash.slice(1);
const [state, act, keys, screen] = ["state", "act", "keys", "screen"].map((name) => document.getElementById(name));
const dark = matchMedia("(prefers-color-scheme: dark)");
const encoder = new TextEncoder();
const SKIPPED = "\x18\x1b[0m\r\n[output was left out]\r\n"; // after the end of whatever sequence was cut
const NOT_TYPED = /^\x1b\[(?:[IO]$|M|<)/; // reports of the focus and of the mouse
// Questions of a program to its terminal: what it is, where the cursor is, its modes, its size, its colours.
const CSI_QUESTIONS = [{ final: "c" }, { prefix: ">", final: "c" }, { prefix: "=", final: "c" }, { final: "n" }, { prefix: "?", final: "n" },
  { intermediates: "$", final: "p" }, { prefix: "?", intermediates: "$", final: "p" }, { final: "t" }, { prefix: ">", final: "q" }];
const OSC_QUESTIONS = [4, 10, 11, 12];

const theme = () => {
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return { background: color("--bg"), foreground: color("--text"), cursor: color("--accent"), selectionBackground: color("--line") };
};

const terminal = new Terminal({ theme: theme(), fontFamily: "ui-monospace, Menlo, Consolas, monospace", fontSize: 14, scrollback: 5000,
  minimumContrastRatio: 4.5, screenReaderMode: true });
const fit = new FitAddon();
terminal.loadAddon(fit);

const link = new TerminalLink(id, {
  write: (bytes, done) => terminal.write(bytes, done),
  gap: () => terminal.reset(),
  skipped: () => terminal.write(terminal.buffer.active.type === "normal" ? SKIPPED : "\x18"),
  size: () => ({ columns: terminal.cols, rows: terminal.rows }),
  changed: show,
  waiting: () => say("The server does not answer. Trying again …"),
  closed: (text) => {
    over = !link.exit;
    keys.hidden = !mayType || over;
    if (!link.exit) return say(plainly(text));
    say(`The shell has ended with code ${link.exit.code}.`);
    return offer("New shell", () => {
      terminal.reset();
      keys.hidden = !mayType;
      link.restart();
    });
  },
});

for (const each of CSI_QUESTIONS) terminal.parser.registerCsiHandler(each, () => !link.answers);
for (const code of OSC_QUESTIONS) terminal.parser.registerOscHandler(code, (data) => data.includes("?") && !link.answers);
terminal.parser.registerDcsHandler({ intermediates: "$", final: "q" }, () => !link.answers);

const plainly = (text) => {
  if (text.startsWith("there is no terminal")) return "Nobody has opened a terminal in this session.";
  if (/^session \S+ is not awake/.test(text)) return "The session is not awake, and no terminal is open in it.";
  return /^session \S+ has ended/.test(text) ? "The session has ended." : text;
};

// Who types, by name: the terminal knows ids.
const names = new Map();
const asked = new Set();

async function nameOf(by) {
  if (asked.has(by)) return;
  asked.add(by);
  const { people = [] } = await get(`/sessions/${id}/attendance`).catch(() => ({}));
  const participants = await get(`/sessions/${id}/participants`).catch(() => []);
  for (const each of [...participants, ...people]) names.set(each.id, plain(each.name));
  if (names.has(by)) show();
}

function say(text) {
  state.textContent = text;
  act.hidden = true;
}

function offer(name, run) {
  act.textContent = name;
  act.hidden = false;
  act.onclick = () => {
    run();
    terminal.focus();
  };
}

function show() {
  if (link.exit || link.problem) return undefined; // `closed` says it
  const { writer, by, watchers } = link.keyboard;
  if (writer) return say(watchers ? `You type; ${watchers} watch.` : "You type.");
  if (by) nameOf(by);
  say(by ? `${names.get(by) ?? "Somebody else"} types.` : "Nobody types.");
  if (!mayType) return undefined;
  return offer("Take the keyboard", () => {
    link.send({ type: "take" });
    link.send({ type: "resize", ...link.on.size() });
  });
}

function resize() {
  fit.fit();
  if (link.keyboard.writer) link.send({ type: "resize", columns: terminal.cols, rows: terminal.rows });
}

let mayType = true; // who may only look watches
let over = false; // nobody types any more
get("/me").then(({ role }) => {
  mayType = role !== "readonly";
  keys.hidden = !mayType || over;
  if (!mayType) act.hidden = true;
}, () => {});

let ctrl = null; // the button while it is held for the next character

function hold(button) {
  ctrl = ctrl ? null : button;
  button.setAttribute("aria-pressed", String(ctrl !== null));
}

function typed(text) {
  if (!link.keyboard.writer && NOT_TYPED.test(text)) return; // who looks on takes the keyboard by typing only
  // Ctrl and a letter, or one of @ [ \\ ] ^ _, is the character with only its five low bits.
  const held = ctrl;
  if (held) hold(held);
  const code = text.toUpperCase().charCodeAt(0);
  const control = held && text.length === 1 && code >= 64 && code < 96;
  link.type(encoder.encode(control ? String.fromCharCode(code & 31) : text));
}

const pressed = (name) => {
  if (name === "Esc") return "\x1b";
  if (name === "Tab") return "\t";
  // A program in full-screen mode may ask for another form of the arrows.
  return `\x1b${terminal.modes.applicationCursorKeysMode ? "O" : "["}${ARROWS[name]}`;
};

for (const name of KEYS) {
  const key = document.createElement("button");
  key.textContent = name;
  if (ARROWS[name]) key.setAttribute("aria-label", { "←": "Left", "↑": "Up", "↓": "Down", "→": "Right" }[name]);
  if (name === "Ctrl") key.setAttribute("aria-pressed", "false");
  key.onpointerdown = (event) => event.preventDefault(); // the screen keeps the focus, so that the phone's keyboard stays
  key.onclick = () => {
    if (name === "Ctrl") hold(key);
    else typed(pressed(name));
    terminal.focus();
  };
  keys.append(key);
}
// The screen takes every key, Tab too. This one leaves it.
terminal.attachCustomKeyEventHandler((event) => {
  // By the letter, which is elsewhere on some keyboards; by the place where the keyboard has no Latin letters.
  const isM = /^[\x20-\x7e]$/.test(event.key) ? event.key.toLowerCase() === "m" : event.code === "KeyM";
  if (!event.ctrlKey || event.altKey || event.metaKey || !isM) return true;
  if (event.type === "keydown") document.getElementById("back").focus();
  event.preventDefault();
  return false;
});
addEventListener("hashchange", () => location.reload()); // another session
// A pasted text could say that the paste ends, and go on as if it were typed.
screen.addEventListener("paste", (event) => {
  event.preventDefault();
  event.stopPropagation();
  terminal.paste((event.clipboardData?.getData("text/plain") ?? "").replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g, ""));
}, true);
terminal.onData(typed);
terminal.onBinary((text) => link.type(Uint8Array.from(text, (character) => character.charCodeAt(0))));
dark.addEventListener("change", () => (terminal.options.theme = theme()));
new ResizeObserver(resize).observe(screen);

if (ID.test(id)) {
  document.getElementById("back").href = `/#/s/${id}`;
  terminal.open(screen);
  fit.fit();
  terminal.textarea.setAttribute("aria-describedby", "leave");
  terminal.focus();
  link.connect();
  get(`/sessions/${id}`).then(({ title }) => title && (document.title = `${plain(title)} · Terminal · Jelmore`), () => {});
} else {
  say("The address names no session.");
}
