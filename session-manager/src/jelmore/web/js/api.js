// Calls of the API with the browser's login. Every refusal is a Problem with a stable `code`.
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
    this.code = body.code || "http_error";
  }
}

export const API = "/api/v1";
const TIMEOUT_MS = 60_000;

let page = "1"; // or `guest`: calls have the rights of an invite and no others, whoever is signed in in this browser
export const beGuest = () => (page = "guest");
export const isGuest = () => page === "guest";

export async function call(method, path, body, headers = {}) {
  const options = { method, headers: { "X-Jelmore-Browser": page, ...headers }, signal: AbortSignal.timeout(TIMEOUT_MS) };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(API + path, options);
  } catch {
    throw new Problem(0, { code: "away", detail: "The server does not answer." });
  }
  const text = await response.text();
  let found = {};
  try {
    found = text ? JSON.parse(text) : {};
  } catch {
    found = { detail: `HTTP ${response.status}` };
  }
  if (!response.ok) throw new Problem(response.status, found);
  return found;
}

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);
export const newId = () => crypto.randomUUID();
