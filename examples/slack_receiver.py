"""Receive webhooks, verify them, and post to a Slack-like chat which session waits for whom.

    python examples/slack_receiver.py --port 8080

Needs WEBHOOK_SECRET (what `POST /api/v1/webhooks` answered) and CHAT_URL, which takes `{"text": …}` as Slack's incoming
webhooks do. Uses nothing but the standard library.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOO_OLD_S = 300
REMEMBERED_S = 86400
seen: dict[str, float] = {}
"""Deliveries that were handled. One that comes again, as its answer was lost, is confirmed and not posted again."""


def verified(secret: str, headers: Any, body: bytes) -> bool:
    """Return whether a call was signed with the secret, within five minutes."""
    delivery, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not at.isdigit() or abs(time.time() - int(at)) > TOO_OLD_S:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{delivery}.{at}.".encode() + body, hashlib.sha256).digest()
    expected = f"v1,{base64.b64encode(digest).decode()}"
    return any(hmac.compare_digest(expected, each) for each in headers.get("webhook-signature", "").split())


def words(event: dict[str, Any]) -> str | None:
    """Return the chat message for an event; None for an event that needs none."""
    session, payload = event["session_id"], event["payload"]
    match event["event_type"]:
        case "session.state_changed" if payload.get("waiting_for") in {"permission", "question"}:
            return f"Session {session} waits for your {payload['waiting_for']}."
        case "session.failed":
            return f"Session {session} failed: {payload.get('error')}"
        case "session.terminated":
            return f"Session {session} ended: {payload.get('reason')}"
        case _:
            return None


def post(text: str) -> None:
    """Post a message to the chat. Raises OSError; Jelmore then tries again."""
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(  # noqa: S310 - the operator's own URL
        os.environ["CHAT_URL"], data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5):  # noqa: S310
        pass


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 when a delivery was handled, 401 for a bad signature, 502 when the chat did not take it."""

    def do_POST(self) -> None:
        """Take one delivery."""
        body = self.rfile.read(min(int(self.headers.get("content-length", "0")), 4 * 1024 * 1024))
        self.send_response(self.answer(body))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, body: bytes) -> int:
        """Handle a delivery; return the status to answer."""
        if not verified(os.environ["WEBHOOK_SECRET"], self.headers, body):
            return 401
        delivery = self.headers["webhook-id"]
        text = None if delivery in seen else words(json.loads(body))
        try:
            if text is not None:
                post(text)
        except OSError as error:
            print(f"the chat did not take it: {error}", file=sys.stderr, flush=True)
            return 502
        for old in [each for each, at in seen.items() if time.time() - at > REMEMBERED_S]:
            del seen[old]
        seen[delivery] = time.time()
        return 204

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Say nothing about each call."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Post to a chat what waits for people.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--bind", default="127.0.0.1")
    chosen = parser.parse_args()
    with ThreadingHTTPServer((chosen.bind, chosen.port), Receiver) as server:
        print(f"listening on {server.server_address[1]}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.exit(130)
