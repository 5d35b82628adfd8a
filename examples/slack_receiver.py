"""Receive webhooks, verify them, and post to a Slack-like chat which session waits for whom. Answer from the chat.

    python examples/slack_receiver.py --port 8090

Needs WEBHOOK_SECRET (what `POST /api/v1/webhooks` answered), CHAT_URL, which takes `{"text": …}` as Slack's incoming
webhooks do, and JELMORE_URL for the links. With JELMORE_API_KEY and SLACK_SIGNING_SECRET a permission comes with the
buttons Allow and Deny, and Slack's call for a pressed one is answered at /slack. Uses nothing but the standard library.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOO_OLD_S = 300
REMEMBERED_S = 86400
LONGEST = 2500  # of what is asked, in characters; Slack takes 3,000 of a section
LONGEST_TITLE = 300
MOST_ASKED = 16  # requests in a message, of three blocks each; Slack takes 50
MOST_BODY = 4 * 1024 * 1024
MOST_DIGITS = 15  # of a number in a header
ASKED = {"permission": "a permission", "question": "an answer", "egress": "a decision about a connection"}
seen: dict[str, float] = {}
"""Deliveries that were handled. One that comes again, as its answer was lost, is confirmed and not posted again."""


def recent(at: str) -> bool:
    """Return whether a time in seconds since the epoch is at most five minutes away."""
    return at.isdecimal() and len(at) <= MOST_DIGITS and abs(time.time() - int(at)) <= TOO_OLD_S


def verified(secret: str, headers: Any, body: bytes) -> bool:
    """Return whether Jelmore signed a call with the secret, within five minutes."""
    delivery, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not recent(at):
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{delivery}.{at}.".encode() + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    given = headers.get("webhook-signature", "").encode().split()
    return any(hmac.compare_digest(expected, each) for each in given)


def verified_by_slack(secret: str, headers: Any, body: bytes) -> bool:
    """Return whether Slack signed a call, within five minutes.

    As https://docs.slack.dev/authentication/verifying-requests-from-slack describes it.
    """
    at = headers.get("x-slack-request-timestamp", "")
    digest = hmac.new(secret.encode(), f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
    return recent(at) and hmac.compare_digest(f"v0={digest}".encode(), headers.get("x-slack-signature", "").encode())


def plain(text: str, longest: int = LONGEST) -> str:
    """Return text as Slack shows it unchanged: no link, no mention of a person or a channel."""
    shown = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return shown if len(shown) <= longest else shown[:longest] + " …"


def legible(given: Any) -> str:
    """Return the input of a tool as text. Characters that hide or reorder others are written out."""
    text = json.dumps(given, ensure_ascii=False)
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def call(url: str, body: dict[str, Any] | None, **headers: str) -> Any:
    """Call a JSON API; return its answer. Raises OSError, which HTTPError is too."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - the operator's own URLs
        url, data=data, headers={"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        content = answer.read()
    return json.loads(content) if content.lstrip().startswith((b"{", b"[")) else None


def jelmore(path: str, body: dict[str, Any] | None = None) -> Any:
    """Call Jelmore's API. Raises OSError."""
    return call(
        f"{os.environ['JELMORE_URL'].rstrip('/')}/api/v1/sessions/{path}",
        body,
        **{"X-API-Key": os.environ["JELMORE_API_KEY"]},
    )


def can_answer() -> bool:
    """Return whether people can answer in the chat."""
    return bool(os.environ.get("JELMORE_API_KEY") and os.environ.get("SLACK_SIGNING_SECRET"))


def message(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return the chat message for an event; None for an event that needs none. Raises OSError."""
    session, payload = event["session_id"], event["payload"]
    page = f"{os.environ.get('JELMORE_URL', '').rstrip('/')}/#/s/{session}"
    match event["event_type"]:
        case "session.state_changed" if payload.get("waiting_for") in ASKED:
            text = f"Session {session} waits for {ASKED[payload['waiting_for']]}: {page}"
            asked = jelmore(f"{session}/permissions")["pending"] if can_answer() else []
            return with_buttons(text, session, asked)
        case "session.failed":
            return {"text": f"Session {session} failed: {plain(str(payload.get('error')))}: {page}"}
        case _:
            return None


def with_buttons(text: str, session: str, asked: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a message with what is asked, and buttons for each permission. A question is answered on its page.

    What is too long for the chat can be denied there, and is allowed on its page only, where all of it can be read.
    """
    blocks: list[dict[str, Any]] = [section(text)]
    for each in asked[:MOST_ASKED]:
        given = plain(legible(each["input"]))
        blocks.append(section(f"*{plain(each['title'], LONGEST_TITLE)}*\n{given}"))
        if each["waiting_for"] != "question":
            is_whole = len(given) <= LONGEST
            if not is_whole:
                blocks.append(section("This is not all of it: to allow it, read it on the session's page."))
            value = json.dumps({"session": session, "request": each["request_id"]})
            buttons = [
                {
                    "type": "button",
                    "action_id": name,
                    "value": value,
                    "text": {"type": "plain_text", "text": name.title()},
                }
                for name in (("allow", "deny") if is_whole else ("deny",))
            ]
            blocks.append({"type": "actions", "elements": buttons})
    return {"text": text, "blocks": blocks} if asked else {"text": text}


def section(text: str) -> dict[str, Any]:
    """Return a block of text."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def detail_of(error: urllib.error.HTTPError) -> str:
    """Return what Jelmore says of a refusal; a proxy in between may say something else."""
    try:
        return str(json.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError):
        return str(error)


def pressed(body: bytes) -> None:
    """Answer the request of a button that a person pressed, and say in the message what became of it."""
    payload = json.loads(urllib.parse.parse_qs(body.decode())["payload"][0])
    action = payload["actions"][0]
    if action["action_id"] not in {"allow", "deny"}:
        return
    who, about = payload["user"].get("username") or payload["user"]["id"], json.loads(action["value"])
    session, request = (urllib.parse.quote(about[name], safe="") for name in ("session", "request"))
    body_of_answer = {"decision": action["action_id"]}
    if action["action_id"] == "deny":
        body_of_answer["message"] = f"denied by {who} in the chat"
    try:
        jelmore(f"{session}/permissions/{request}", body_of_answer)
        outcome = f"{'allowed' if action['action_id'] == 'allow' else 'denied'} by {who}"
    except urllib.error.HTTPError as error:
        outcome = f"not answered: {detail_of(error)}"
    except OSError as error:
        outcome = f"not answered: {error}"
    try:
        left = jelmore(f"{session}/permissions")["pending"]  # no event says that the session waits for another one
    except OSError:
        left = []
    text = plain(f"Session {session}: {outcome}")
    if left:
        text += f". It waits for more: {os.environ['JELMORE_URL'].rstrip('/')}/#/s/{session}"
    try:
        call(payload["response_url"], {"replace_original": True, **with_buttons(text, session, left)})
    except OSError as error:
        print(f"the chat did not take it: {error}", file=sys.stderr, flush=True)


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 or 200 when a call was handled, 401 for a bad signature, 502 when the chat did not take it."""

    def do_POST(self) -> None:
        """Take one call, of Jelmore or of Slack."""
        length = self.headers.get("content-length", "")
        body = (
            self.rfile.read(min(int(length), MOST_BODY)) if length.isdecimal() and len(length) <= MOST_DIGITS else b""
        )
        status = self.of_slack(body) if self.path == "/slack" else self.of_jelmore(body)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def of_slack(self, body: bytes) -> int:
        """Handle a pressed button; return the status to answer, which Slack wants within three seconds."""
        if not can_answer() or not verified_by_slack(os.environ["SLACK_SIGNING_SECRET"], self.headers, body):
            return 401
        threading.Thread(target=pressed, args=(body,), daemon=True).start()
        return 200

    def of_jelmore(self, body: bytes) -> int:
        """Handle a delivery; return the status to answer."""
        if not verified(os.environ["WEBHOOK_SECRET"], self.headers, body):
            return 401
        delivery = self.headers["webhook-id"]
        try:
            posted = None if delivery in seen else message(json.loads(body))
            if posted is not None:
                call(os.environ["CHAT_URL"], posted)
        except OSError as error:
            print(f"the chat did not take it, or Jelmore did not answer: {error}", file=sys.stderr, flush=True)
            return 502
        for old in [each for each, at in seen.items() if time.time() - at > REMEMBERED_S]:
            del seen[old]
        seen[delivery] = time.time()
        return 204

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Say nothing about each call."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Post to a chat what waits for people, and take their answers.")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--bind", default="127.0.0.1")
    chosen = parser.parse_args()
    missing = [name for name in ("WEBHOOK_SECRET", "CHAT_URL", "JELMORE_URL") if not os.environ.get(name)]
    if missing:
        parser.error(f"set {', '.join(missing)}")
    with ThreadingHTTPServer((chosen.bind, chosen.port), Receiver) as server:
        print(f"listening on {server.server_address[1]}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.exit(130)
