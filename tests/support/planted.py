"""Credentials of every kind that a session uses, at servers that take no other, and what the API says afterwards."""

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.support.stack import wait_for

CREDENTIALS = "/api/v1/credentials"
SESSIONS = "/api/v1/sessions"


def planted(kind: str) -> str:
    return f"planted-{kind}-{secrets.token_hex(12)}"


@dataclass
class Outside:
    """The servers beyond the gateway: three MCP servers, an authorization server, and the receiver of a webhook."""

    origin: str = ""
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
def outside(address: str = "127.0.0.1") -> Iterator[Outside]:
    """Serve them on a free port of an address of this machine."""
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

    with ThreadingHTTPServer((address, 0), Handler) as server:
        servers.origin = f"http://{address}:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, name="outside")
        thread.start()
        yield servers
        server.shutdown()
        thread.join()


def plant(http: httpx.Client, servers: Outside) -> str:
    """Have a session use every credential; return its id. `http` has the key of an administrator."""
    origin = servers.origin

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


def answers(http: httpx.Client, id_: str) -> dict[str, str]:
    """Return what the API says, by path."""
    session = f"{SESSIONS}/{id_}"
    below = ("", "/output", "/events", "/messages", "/logs", "/mcp", "/usage", "/metrics", "/transcript", "/calls")
    others = ("credentials", "admin/routes", "admin/keys", "admin/audit", "webhooks", "sessions", "events")
    paths = [*(session + each for each in below), *(f"/api/v1/{each}" for each in others), "/metrics", "/openapi.json"]
    found = {path: http.get(path) for path in paths}
    return {path: answer.text for path, answer in found.items() if answer.status_code == 200}
