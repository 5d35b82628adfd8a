"""Credentials of every kind are used by a session, and are then found in no log, file, process, event, trace or answer.

The credential of the model is looked for in `tests/e2e/test_isolation.py`.
"""

import json
import secrets
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.integration.whole.conftest import LocalStack
from tests.support.stack import wait_for
from tests.support.stack_quickstart import family
from tests.support.trace_receiver import Receiver, trace_receiver

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

CREDENTIALS = "/api/v1/credentials"
SESSIONS = "/api/v1/sessions"


def planted(kind: str) -> str:
    return f"planted-{kind}-{secrets.token_hex(12)}"


@dataclass
class Outside:
    """The servers beyond the gateway: three MCP servers, an authorization server, and the receiver of a webhook."""

    port: int = 0
    route: str = field(default_factory=lambda: planted("route"))
    user: str = field(default_factory=lambda: planted("user"))
    client_secret: str = field(default_factory=lambda: planted("client-secret"))
    refresh: list[str] = field(default_factory=lambda: [planted("refresh"), planted("refresh-again")])
    access: str = field(default_factory=lambda: planted("access"))
    webhook: str = field(default_factory=lambda: planted("webhook"))
    key: str = ""
    lets_in: set[str] = field(default_factory=set)
    hooks: list[str] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)

    def all(self) -> list[str]:
        return [self.route, self.user, self.client_secret, *self.refresh, self.access, self.webhook, self.key]

    def answer(self, path: str, authorization: str, body: bytes) -> tuple[int, Any]:
        """Return the status and the body that a POST gets."""
        if path == "/token":
            self.forms.append(body.decode())
            given = {"access_token": self.access, "token_type": "Bearer", "expires_in": 3600}
            return 200, {**given, "refresh_token": self.refresh[1]}
        if path == "/hook":
            self.hooks.append(body.decode())
            return 204, None
        wanted = {"/mcp/route": self.route, "/mcp/user": self.user, "/mcp/oauth": self.access}
        if authorization != f"Bearer {wanted[path]}":
            return 401, None
        self.lets_in.add(path)
        message = json.loads(body)
        if "id" not in message:
            return 202, None
        results = {
            "initialize": {
                "protocolVersion": message.get("params", {}).get("protocolVersion"),
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "planted", "version": "1"},
            },
            "tools/list": {"tools": []},
        }
        return 200, {"jsonrpc": "2.0", "id": message["id"], "result": results.get(message["method"], {})}


@contextmanager
def outside() -> Iterator[Outside]:
    """Serve them on a free port of the loopback."""
    servers = Outside()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, found = servers.answer(self.path, self.headers.get("Authorization", ""), body)
            text = b"" if found is None else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            self.send_error(405)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        servers.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, name="outside")
        thread.start()
        yield servers
        server.shutdown()
        thread.join()


@contextmanager
def stack_of(receiver: Receiver) -> Iterator[LocalStack]:
    stack = LocalStack(
        JELMORE_RUNTIME="local",
        JELMORE_MAX_SESSIONS="5",
        JELMORE_LOG_LEVEL="debug",
        JELMORE_WEBHOOK_PRIVATE_HOSTS="127.0.0.1",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    stack.start()
    try:
        yield stack
        stack.stop()
    finally:
        stack.discard()


def plant(stack: LocalStack, servers: Outside) -> str:
    """Have a session use every credential; return its id."""
    origin = f"http://127.0.0.1:{servers.port}"
    with stack.client() as http:

        def put(path: str, body: dict[str, Any], **params: str) -> None:
            answer = http.put(path, json=body, params=params)
            assert answer.status_code in {200, 204}, answer.text

        put(f"{CREDENTIALS}/route", {"value": servers.route})
        put(f"{CREDENTIALS}/user", {"value": servers.user}, user_id="ann")
        client = {"client_id": "me", "client_secret": servers.client_secret, "refresh_token": servers.refresh[0]}
        put(f"{CREDENTIALS}/oauth", {"oauth": {**client, "token_url": f"{origin}/token", "private": True}})
        for name in ("route", "user", "oauth"):
            route = {"url": f"{origin}/mcp/{name}", "credential": name, "private": True}
            put(f"/api/v1/admin/routes/mcp/{name}", route)
        hook = {"url": f"{origin}/hook", "secret": servers.webhook}
        assert http.post("/api/v1/webhooks", json=hook).status_code == 201
        servers.key = http.post("/api/v1/admin/keys", json={"name": "ann", "user_id": "ann"}).json()["key"]
        session = {"query": "demo> say done", "user_id": "ann"}
        created = http.post(SESSIONS, json=session, headers={"X-API-Key": servers.key})
        assert created.status_code == 201, created.text
        id_: str = created.json()["id"]

        def used() -> bool:
            ended = http.get(f"{SESSIONS}/{id_}/output?kind=turn_ended").json()
            return bool(ended and servers.hooks and len(servers.lets_in) == 3)

        wait_for(used, seconds=60, what="every credential to be used")
    assert any("refresh_token" in form for form in servers.forms)
    return id_


def answers(stack: LocalStack, id_: str) -> dict[str, str]:
    """Return what the API says, by path."""
    session = f"{SESSIONS}/{id_}"
    below = ("", "/output", "/events", "/messages", "/logs", "/mcp", "/usage", "/metrics", "/transcript", "/calls")
    others = ("credentials", "admin/routes", "admin/keys", "admin/audit", "webhooks", "sessions", "events")
    paths = [*(session + each for each in below), *(f"/api/v1/{each}" for each in others), "/metrics", "/openapi.json"]
    with stack.client() as http:
        found = {path: http.get(path) for path in paths}
        return {path: answer.text for path, answer in found.items() if answer.status_code == 200}


def in_files(folder: Path, text: str) -> list[str]:
    """Return the files below `folder` that hold `text`."""
    search = ["grep", "-rlaF", "-D", "skip", "-f", "-", str(folder)]  # by standard input: no process shows the text
    done = subprocess.run(search, input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.splitlines()


def in_processes(stack: LocalStack, text: str) -> list[str]:
    """Return which processes of the installation were given `text`."""
    assert stack._process is not None
    found = []
    for pid in [stack._process.pid, *family(stack._process.pid)]:
        for name in ("environ", "cmdline"):
            try:
                held = Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                continue  # it has ended
            found += [f"{pid}/{name}"] if text.encode() in held else []
    return found


def test_planted_credentials_are_nowhere_but_where_they_are_used() -> None:
    with trace_receiver() as receiver, outside() as servers, stack_of(receiver) as stack:
        id_ = plant(stack, servers)
        wait_for(lambda: receiver.raw, seconds=30, what="traces")
        said = answers(stack, id_)
        assert len(said) >= 15, list(said)

        # The search sees what is there.
        assert in_files(stack.folder, "demo> say done")
        assert in_processes(stack, stack.api_key)
        for text in servers.all():
            in_database = stack.data_dir / "postgres"
            allowed = in_database if text == servers.webhook else None  # each call is signed with it
            places = [
                path for path in in_files(stack.folder, text) if allowed is None or allowed not in Path(path).parents
            ]
            assert places == [], text
            assert in_processes(stack, text) == [], text
            assert [path for path, answer in said.items() if text in answer] == [], text
            assert text not in stack.logs()
            assert not any(text.encode() in each for each in receiver.raw), text
            assert not any(text in each for each in servers.hooks), text
        gateway = stack.pid("gateway")
        assert "Max core file size        0 " in Path(f"/proc/{gateway}/limits").read_text()
