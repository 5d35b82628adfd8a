// Calls of the API with the browser's login. Every refusal is a Problem with a stable `code`.
import { compare } from "./clock.js";

// The server begins its sentences as programs print them. Names of fields and hosts stay as they are.
const sentence = (text) => text.replace(/^[a-z]+(?= )/, (word) => word[0].toUpperCase() + word.slice(1));

export class Problem extends Error {
  constructor(status, body) {
    super(sentence(body.detail || body.title || `HTTP ${status}`));
    this.status = status;
    this.code = body.code || "http_error";
  }
}

export const API = "/api/v1";
const TIMEOUT_MS = 60_000;
const SLOW_MS = 4000; // longer than a person waits without a word

let late = 0; // how many calls have had no answer for SLOW_MS
let tell = () => {};
export const tellOfSlow = (listener) => (tell = listener); // called with that number when it changes
const count = (more) => tell((late += more));

let page = "1"; // or `guest`: calls have the rights of an invite and no others, whoever is signed in in this browser
export const beGuest = () => (page = "guest");
export const isGuest = () => page === "guest";

export async function request(path, { headers, timeout = TIMEOUT_MS, ...options } = {}) {
  // Returns the response of an address below the API. Raises a Problem, also when the server does not answer in time.
  const given = { ...options, headers: { "X-Jelmore-Browser": page, ...headers }, signal: AbortSignal.timeout(timeout) };
  let counted = 0;
  const waits = timeout === TIMEOUT_MS && setTimeout(() => count((counted = 1)), SLOW_MS);
  let response;
  try {
    response = await fetch(API + path, given);
  } catch {
    throw new Problem(0, { code: "away", detail: "The server does not answer." });
  } finally {
    clearTimeout(waits || undefined);
    if (counted) count(-1);
  }
  compare(response.headers.get("Date"));
  if (!response.ok) throw new Problem(response.status, parsed(await response.text().catch(() => "")) ?? { detail: `HTTP ${response.status}` });
  return response;
}

export async function call(method, path, body, headers = {}) {
  const options = { method, headers };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { ...headers, "Content-Type": "application/json" };
  }
  const response = await request(path, options);
  const text = await response.text().catch(() => {
    throw brokenOff();
  });
  return parsed(text) ?? {};
}

export async function startOf(path, most, options) {
  // Returns at least `most` bytes of what an address answers, or all of it, and whether there is more. Raises a Problem.
  const response = await request(path, options);
  const reader = response.body.getReader();
  const pieces = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw brokenOff();
    });
    if (done) break;
    pieces.push(value);
    size += value.length;
    if (size <= most) continue;
    reader.cancel().catch(() => {});
    return { bytes: await joined(pieces), more: true };
  }
  return { bytes: await joined(pieces), more: false };
}

const joined = async (pieces) => new Uint8Array(await new Blob(pieces).arrayBuffer());
const brokenOff = () => new Problem(0, { code: "away", detail: "The server's answer broke off." });

function parsed(text) {
  try {
    return text ? JSON.parse(text) : {};
  } catch {
    return undefined;
  }
}

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);
export const newId = () => crypto.randomUUID();
