// A unified diff as files, hunks and lines. Pure: no page and no network.
export const MAX_BYTES = 4 * 1024 * 1024;
const MOST_LINE = 2000;
const HUNK = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)$/;
const SIGNS = { " ": "same", "+": "new", "-": "old" };
const ESCAPES = { a: 7, b: 8, t: 9, n: 10, v: 11, f: 12, r: 13 };
// Characters that hide or reorder what a person reads: they are shown by their number.
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

export const visible = (text) => text.replace(INVISIBLE, (found) => `⟨${found.codePointAt(0).toString(16).padStart(4, "0")}⟩`);

export function clipped(text) {
  return text.length <= MOST_LINE ? text : `${text.slice(0, MOST_LINE)} … ${(text.length - MOST_LINE).toLocaleString()} more characters`;
}

export function parseDiff(text) {
  // Returns the files in order: {path, oldPath, status, binary, additions, deletions, hunks: [{title, lines}]}.
  // A line is {side: same | new | old, number, text, bare}; `number` counts on the old side for removed lines. Text that
  // ends in the middle of a file gives what there is of it. Never throws.
  const files = [];
  let file = null;
  let hunk = null;
  let left = [0, 0]; // lines of the hunk that are still to come, on the old and the new side
  let at = [0, 0];
  for (const line of text.split("\n")) {
    if (hunk && (left[0] > 0 || left[1] > 0)) {
      const side = SIGNS[line[0] ?? " "];
      if (side) {
        take(file, hunk, side, line.slice(1), at, left);
        continue;
      }
      if (line.startsWith("\\")) continue;
      hunk = null;
    }
    if (line.startsWith("diff --git ")) {
      file = { path: headerPath(line), oldPath: null, status: "modified", binary: false, additions: 0, deletions: 0, hunks: [] };
      files.push(file);
      hunk = null;
    } else if (file && line.startsWith("\\") && hunk) {
      hunk.lines.at(-1).bare = true; // without a newline at the end of the file
    } else if (file && HUNK.test(line)) {
      const [, oldStart, oldCount, newStart, newCount, title] = HUNK.exec(line);
      hunk = { title, start: Number(newStart), lines: [] };
      at = [Number(oldStart), Number(newStart)];
      left = [Number(oldCount ?? 1), Number(newCount ?? 1)];
      file.hunks.push(hunk);
    } else if (file) {
      headerLine(file, line);
    }
  }
  return files;
}

function take(file, hunk, side, text, at, left) {
  hunk.lines.push({ side, number: side === "old" ? at[0] : at[1], text });
  if (side !== "new") {
    at[0] += 1;
    left[0] -= 1;
  }
  if (side !== "old") {
    at[1] += 1;
    left[1] -= 1;
  }
  if (side === "new") file.additions += 1;
  if (side === "old") file.deletions += 1;
}

function headerLine(file, line) {
  if (line.startsWith("new file mode ")) file.status = "added";
  else if (line.startsWith("deleted file mode ")) file.status = "deleted";
  else if (line.startsWith("rename from ")) {
    file.status = "renamed";
    file.oldPath = unquoted(line.slice(12));
  } else if (line.startsWith("rename to ")) file.path = unquoted(line.slice(10));
  else if (line.startsWith("copy from ")) {
    file.status = "copied";
    file.oldPath = unquoted(line.slice(10));
  } else if (line.startsWith("copy to ")) file.path = unquoted(line.slice(8));
  else if (line.startsWith("--- ") && line !== "--- /dev/null") file.path = sidePath(line);
  else if (line.startsWith("+++ ") && line !== "+++ /dev/null") file.path = sidePath(line);
  else if (line.startsWith("Binary files ") || line.startsWith("GIT binary patch")) file.binary = true;
}

// git puts a tab behind a name with spaces.
const sidePath = (line) => unquoted(line.slice(4).replace(/\t$/, "")).slice(2);

function headerPath(line) {
  // "a/X b/X": both names are the same when there is no other line to read them from.
  const both = line.slice("diff --git ".length);
  if (both.startsWith('"')) return unquoted(both.slice(0, both.indexOf('" ') + 1)).slice(2);
  return both.slice(0, (both.length - 1) / 2).slice(2);
}

export function unquoted(name) {
  // The inverse of git's quoting of names: "a\tb\303\274".
  if (!name.startsWith('"') || !name.endsWith('"') || name.length < 2) return name;
  const bytes = [];
  const inner = new TextEncoder().encode(name.slice(1, -1));
  for (let index = 0; index < inner.length; index += 1) {
    if (inner[index] !== 0x5c) {
      bytes.push(inner[index]);
      continue;
    }
    const after = String.fromCharCode(inner[index + 1]);
    if (/[0-3]/.test(after)) {
      bytes.push(parseInt(String.fromCharCode(...inner.slice(index + 1, index + 4)), 8));
      index += 3;
    } else {
      bytes.push(ESCAPES[after] ?? inner[index + 1]);
      index += 1;
    }
  }
  return new TextDecoder().decode(Uint8Array.from(bytes));
}

export const keyOf = (path, line) => `${line.side === "old" ? "-" : "+"}${line.number} ${path}`;

export function placed(files, comments) {
  // Returns where comments belong: a Map from a line's key to its comments, and those whose line is gone.
  // A comment follows its line: same text at the same number, else the nearest line of the file with that text.
  const byKey = new Map();
  const gone = [];
  const byPath = new Map(files.map((file) => [file.path, file]));
  for (const comment of comments) {
    const lines = (byPath.get(comment.path)?.hunks ?? []).flatMap((hunk) => hunk.lines)
      .filter((line) => (line.side === "old") === (comment.side === "old") && line.text === comment.code);
    if (lines.length === 0) {
      gone.push(comment);
      continue;
    }
    const far = (line) => Math.abs(line.number - comment.line);
    const line = lines.reduce((best, each) => (far(each) < far(best) ? each : best));
    const key = keyOf(comment.path, line);
    byKey.set(key, [...(byKey.get(key) ?? []), comment]);
  }
  return { byKey, gone };
}

export function promptOf(text, comments) {
  // The prompt that carries comments: each with its file, its line and the line's text.
  if (comments.length === 0) return text;
  const quoted = comments.map((each) => {
    const where = `${visible(each.path)}, ${each.side === "old" ? "removed line" : "line"} ${each.line}:`;
    const sign = { old: "-", new: "+" }[each.side] ?? " ";
    return `${where}\n> ${sign}${clipped(each.code)}\n${each.text.trim()}`;
  });
  return [text.trim(), "Comments on the changes:", ...quoted].filter(Boolean).join("\n\n");
}
