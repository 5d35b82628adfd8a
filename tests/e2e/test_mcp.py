"""The real Claude Code uses an MCP server that an admin registered, and never sees its credential."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.http_servers import listening
from tests.support.stack import Stack, docker, inspect
from tests.support.stack_client import SESSIONS, Api, Frame, eventually, talk_to

SECRET = "s3cret-of-the-mcp-server"
ROUTE = "/api/v1/admin/routes/mcp/clock"
TOOL = {"name": "tell", "description": "Tell the time", "inputSchema": {"type": "object", "properties": {}}}


@dataclass
class McpServer:
    """A streamable HTTP MCP server with one tool; it answers only with the credential."""

    port: int = 0
    methods: list[str] = field(default_factory=list)
    refused: int = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("X-Key") != SECRET:
            self.refused += 1
            return web.Response(status=401)
        if request.method != "POST":
            return web.Response(status=405)
        message: dict[str, Any] = await request.json()
        self.methods.append(message["method"])
        if "id" not in message:
            return web.Response(status=202)
        result = self._result(message["method"], message.get("params") or {})
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _result(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        match method:
            case "initialize":
                version = params["protocolVersion"]
                server = {"name": "clock", "version": "1"}
                return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server}
            case "tools/list":
                return {"tools": [TOOL]}
            case "tools/call":
                return {"content": [{"type": "text", "text": "half past four"}]}
            case _:
                return {}


@asynccontextmanager
async def mcp_server() -> AsyncIterator[McpServer]:
    server = McpServer()
    app = web.Application()
    app.router.add_route("*", "/mcp", server.serve)
    async with listening(app) as server.port:
        yield server


async def test_claude_code_calls_a_registered_mcp_server(quick_api: Api, quickstart: Stack) -> None:
    api = quick_api
    async with mcp_server() as server:
        body = {"url": f"http://127.0.0.1:{server.port}/mcp", "private": True}
        body |= {"credential": "clock", "header": "X-Key", "prefix": ""}
        made = [
            await api.http.put("/api/v1/credentials/clock", json={"value": SECRET}),
            await api.http.put(ROUTE, json=body),
        ]
        assert [answer.status_code for answer in made] == [204, 200]
        try:
            created = await api.create("demo> tool mcp__clock__tell {}", allowed_tools=["mcp__clock__tell"])
            async with talk_to(created, after=0) as talk:
                await talk.said("half past four")
                await talk.turn()
            assert "tools/call" in server.methods
            assert server.refused == 0
            await until_shown(api, created["id"])
            container = quickstart.container(created["id"])
            given = [
                Path(f"/proc/{pid}/{name}").read_text(errors="replace")
                for pid in docker("top", container, "-eo", "pid").split()[1:]
                for name in ("cmdline", "environ")
            ]
            assert any(re.search(r"--mcp-config\0/session/home/", text) for text in given), "a file, not its content"
            assert not any(SECRET in text or "/mcp/clock" in text for text in given)
            assert SECRET not in json.dumps(inspect(container)) + quickstart.logs()
        finally:
            assert (await api.http.delete(ROUTE)).status_code == 204
            assert (await api.http.delete("/api/v1/credentials/clock")).status_code == 204


async def until_shown(api: Api, session_id: str) -> None:
    shown: Frame = {}

    async def there() -> bool:
        shown.update((await api.http.get(f"{SESSIONS}/{session_id}/usage")).json())
        return any(call["method"] == "tools/call" for call in shown["calls"]) and bool(shown["metered"])

    await eventually(there, seconds=20, what=lambda: f"the calls are shown: {shown}")
    assert {call["route"] for call in shown["calls"]} == {"mcp/clock"}
    assert [call["tool"] for call in shown["calls"] if call["method"] == "tools/call"] == ["tell"]
    assert all(each["output_tokens"] > 0 for each in shown["metered"])
    events = (await api.http.get(f"{SESSIONS}/{session_id}/events", params={"type": "mcp.called"})).json()
    called = [each["payload"] for each in events if each["payload"]["method"] == "tools/call"]
    assert [(each["route"], each["tool"], each["status"]) for each in called] == [("mcp/clock", "tell", 200)]
