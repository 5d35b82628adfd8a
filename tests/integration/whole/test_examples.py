"""The examples do what they say, as programs of their own, against a running installation."""

import asyncio
import hashlib
import hmac
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import pytest

from tests.integration.api.repository_parts import git, make_origin
from tests.integration.whole.conftest import LocalStack
from tests.support.git_server import BASIC, GitServer, git_server
from tests.support.stack import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
EXAMPLES: Final = Path(__file__).resolve().parents[3] / "examples"


@contextmanager
def example(name: str, *arguments: str, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", list[str]]]:
    """Run an example; yield its process and the lines that it has printed so far."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []

    def read() -> None:
        for line in process.stdout or ():
            lines.append(line)  # noqa: PERF402 - each line is seen as soon as it is there

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield process, lines
    finally:
        process.terminate()
        process.wait(10)
        reader.join(10)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def chat() -> Iterator[tuple[str, "queue.Queue[dict[str, Any]]"]]:
    """Yield the URL of a chat that takes messages as Slack does, and what was posted to it."""
    posted: queue.Queue[dict[str, Any]] = queue.Queue()

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Chat) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", posted
        server.shutdown()
        thread.join(10)


@contextmanager
def git_host(root: Path) -> Iterator[GitServer]:
    """Serve the repositories below a folder from a thread."""
    started: queue.Queue[tuple[GitServer, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        async with git_server(root) as server:
            ended = asyncio.Event()
            started.put((server, asyncio.get_running_loop(), ended))
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    server, loop, ended = started.get(timeout=20)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)


@pytest.mark.timeout(360)
def test_a_pipeline_fans_out_and_collects_branches(running: LocalStack, tmp_path: Path) -> None:
    branch, names = "jelmore/fanned-out", [f"repository-{number}" for number in range(10)]
    private = make_origin(tmp_path) / "private"
    for name in names:
        git(private, "clone", "-q", "--bare", "project.git", f"{name}.git")
    trunk = git(private / "project.git", "rev-parse", "trunk")
    with git_host(private.parent) as host, running.client() as http:
        assert http.put("/api/v1/credentials/bot", json={"value": BASIC}).is_success
        route = {"url": f"{host.url}/private", "credential": "bot", "prefix": "Basic ", "private": True}
        assert http.put("/api/v1/admin/routes/git/bot", json=route).is_success
        repositories = [f"{host.url}/private/{name}.git" for name in names]
        absent = f"{host.url}/private/absent.git"
        words = ("--prompt", "demo> write found.txt {repository}", "--branch", branch, "--credential", "bot")
        environment = {"JELMORE_URL": running.url, "JELMORE_API_KEY": running.api_key}
        with example("fan_out.py", *words, absent, *repositories, **environment) as (process, lines):
            assert process.wait(300) == 1, lines
            wait_for(lambda: len(lines) == 11, seconds=10, what="a line for each repository")
        left = http.get("/api/v1/sessions", params={"status": "active"}).json()
        assert not [each for each in left if (each["user_id"] or "").startswith("fan-out")]
    found = {each["repository"]: each for each in map(json.loads, lines)}
    assert "repository_failed" in found.pop(absent)["failed"], "what cannot be fetched stops no other"
    assert sorted(found) == repositories
    for name, repository in zip(names, repositories, strict=True):
        there = private / f"{name}.git"
        assert found[repository]["branch"] == branch
        assert git(there, "rev-parse", branch, f"{branch}~") == f"{found[repository]['commit']}\n{trunk}"
        assert repository in git(there, "show", f"{branch}:found.txt")


def test_a_subscriber_survives_restarts_of_nats(running: LocalStack) -> None:
    with running.client() as http, example("nats_subscriber.py", NATS_URL=running.nats_url()) as (_, lines):

        def posted(session_id: str, event_type: str) -> bool:
            return any(session_id in line and f'"{event_type}"' in line for line in list(lines))

        def start() -> str:
            made = http.post("/api/v1/sessions", json={"query": "demo> say hello"})
            assert made.status_code == 201, made.text
            return str(made.json()["id"])

        first = start()
        wait_for(lambda: posted(first, "command.executed"), seconds=30, what="the first session's events")
        running.kill("nats")
        second = start()
        wait_for(lambda: posted(second, "command.executed"), seconds=60, what="events after the restart")
        for session_id in (first, second):
            http.delete(f"/api/v1/sessions/{session_id}")
            wait_for(lambda: posted(session_id, "session.terminated"), seconds=30, what="the end")  # noqa: B023
            stored = {each["event_id"] for each in http.get(f"/api/v1/sessions/{session_id}/events").json()}
            printed = [line for line in list(lines) if line.startswith("{")]
            seen = [json.loads(line)["event_id"] for line in printed if session_id in line]
            assert set(seen) >= stored
            assert len(seen) == len(set(seen)), "each once"


SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNING: Final = "8f742231b10e8888abcd99yyyzzz85a5"


@contextmanager
def receiver(running: LocalStack, chat_url: str, **more: str) -> Iterator[str]:
    """Run the receiver, with a webhook for what waits and what failed; yield its address."""
    environment = {"WEBHOOK_SECRET": SECRET, "CHAT_URL": chat_url, "JELMORE_URL": running.url, **more}
    with running.client() as http, example("slack_receiver.py", "--port", "0", **environment) as (_, lines):
        wait_for(lambda: lines, seconds=20, what="the receiver's port")
        url = f"http://127.0.0.1:{lines[0].rpartition(' ')[2].strip()}"
        body: dict[str, Any] = {
            "url": f"{url}/jelmore",
            "secret": SECRET,
            "events": ["session.state_changed", "session.failed"],
            "waiting_for": ["permission", "question", "egress"],
        }
        hook = http.post("/api/v1/webhooks", json=body)
        assert hook.status_code == 201, hook.text
        yield url
        http.delete(f"/api/v1/webhooks/{hook.json()['id']}")


def test_a_receiver_posts_to_a_chat_who_waits(running: LocalStack) -> None:
    with chat() as (url, posted), running.client() as http, receiver(running, url) as address:
        session_id = http.post("/api/v1/sessions", json={"query": "demo> run touch x"}).json()["id"]
        text = f"Session {session_id} waits for a permission: {running.url}/#/s/{session_id}"
        assert posted.get(timeout=60) == {"text": text}
        http.delete(f"/api/v1/sessions/{session_id}")
        asking = http.post("/api/v1/sessions", json={"query": "demo> ask Colour? | red | blue"}).json()["id"]
        assert f"{asking} waits for an answer" in posted.get(timeout=60)["text"]
        http.delete(f"/api/v1/sessions/{asking}")
        assert posted.empty()
        forged = http.post(f"{address}/jelmore", content=b"{}", headers={"webhook-id": "x", "webhook-timestamp": "1"})
        assert forged.status_code == 401
        assert http.post(f"{address}/slack", content=b"{}").status_code == 401


def press(address: str, button: dict[str, Any], answer_to: str, *, secret: str = SIGNING, age_s: int = 0) -> int:
    """Press a button as Slack sends it; return the status of the receiver."""
    action = {"action_id": button["action_id"], "value": button["value"], "type": "button"}
    payload = {"type": "block_actions", "user": {"id": "U1", "username": "ann"}, "actions": [action]}
    content = urlencode({"payload": json.dumps({**payload, "response_url": answer_to})}).encode()
    at = str(int(time.time()) - age_s)
    signature = hmac.new(secret.encode(), f"v0:{at}:".encode() + content, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": at,
        "X-Slack-Signature": f"v0={signature}",
    }
    return httpx.post(f"{address}/slack", content=content, headers=headers).status_code


@pytest.mark.parametrize(("chosen", "made"), [("allow", True), ("deny", False)])
def test_a_permission_is_answered_by_a_button_of_the_chat(running: LocalStack, chosen: str, made: bool) -> None:
    more = {"JELMORE_API_KEY": running.api_key, "SLACK_SIGNING_SECRET": SIGNING}
    with chat() as (url, posted), running.client() as http, receiver(running, url, **more) as address:
        query = "demo> run touch made; echo '<!channel>'"
        session_id = http.post("/api/v1/sessions", json={"query": query}).json()["id"]
        message = posted.get(timeout=60)
        assert "&lt;!channel&gt;" in json.dumps(message)
        assert "<!" not in json.dumps(message), "the agent calls nobody"
        (buttons,) = [each["elements"] for each in message["blocks"] if each["type"] == "actions"]
        button = next(each for each in buttons if each["action_id"] == chosen)
        assert press(address, button, url, secret="another") == 401
        assert press(address, button, url, age_s=600) == 401
        assert posted.empty()
        assert press(address, button, url) == 200
        replaced = posted.get(timeout=30)
        outcome = "allowed" if made else "denied"
        assert replaced == {"replace_original": True, "text": f"Session {session_id}: {outcome} by ann"}
        wait_for(
            lambda: http.get(f"/api/v1/sessions/{session_id}").json()["waiting_for"] == "prompt",
            seconds=30,
            what="the end of the turn",
        )
        there = http.get(f"/api/v1/sessions/{session_id}/files/made").status_code
        assert there == (200 if made else 404)
        assert press(address, button, url) == 200
        assert "not answered: " in posted.get(timeout=30)["text"], "somebody was first"
        http.delete(f"/api/v1/sessions/{session_id}")
