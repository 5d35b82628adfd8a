"""CloudCLI, a server of Claude Code for one user without sandboxes, in a folder that is removed afterwards."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.bench.processes import end, memory_mib
from tests.support.stack import free_port
from tests.support.stack_client import eventually
from tests.support.stack_quickstart import family

_PACKAGE: Final = "@cloudcli-ai/cloudcli@1.37.3"
_INSTALL_S: Final = 1200
_CALL_S: Final = 60
_FRAME_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CloudCli:
    """A running server and the WebSocket of its user."""

    http: httpx.AsyncClient
    websocket: ClientConnection
    project: Path
    pid: int

    async def new_session(self) -> str:
        """Return the id of a new session. No Claude Code runs for it yet."""
        body = {"provider": "claude", "projectPath": str(self.project)}
        answer = (await self.http.post("/api/providers/sessions", json=body)).raise_for_status().json()
        session_id: str = answer["data"]["sessionId"]
        return session_id

    async def first_word_s(self, session_id: str, prompt: str) -> float:
        """Return the seconds from sending a prompt until the first text of its answer; waits for the turn's end."""
        began = time.perf_counter()
        options = {"cwd": str(self.project)}
        frame = {"type": "chat.send", "sessionId": session_id, "content": prompt, "options": options}
        await self.websocket.send(json.dumps(frame))
        spoke: float | None = None
        async with asyncio.timeout(_CALL_S):
            async for received in self.websocket:
                event: dict[str, Any] = json.loads(received)
                kind = event.get("kind")
                if kind in {"protocol_error", "error"}:
                    raise RuntimeError(f"CloudCLI: {received!r}")
                if kind in {"text", "stream_delta"} and event.get("role") != "user" and spoke is None:
                    spoke = time.perf_counter() - began
                if kind == "complete":
                    break
        if spoke is None:
            raise RuntimeError("CloudCLI said nothing")
        return spoke

    def memory_mib(self) -> float:
        """Return the memory of the server and of all that it started, shared pages in part."""
        return sum(memory_mib(pid) for pid in [self.pid, *family(self.pid)])


@asynccontextmanager
async def cloudcli(model_url: str) -> AsyncIterator[CloudCli]:
    """Install and run the server for the block, with a model at `model_url`; nothing of it is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="jb-cloudcli-"))
    try:
        await asyncio.to_thread(_install, folder)
        async with _running(folder, model_url) as found:
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _install(folder: Path) -> None:
    words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), _PACKAGE]
    subprocess.run(words, check=True, timeout=_INSTALL_S, stdout=sys.stderr)


@asynccontextmanager
async def _running(folder: Path, model_url: str) -> AsyncIterator[CloudCli]:
    port = free_port()
    project = folder / "home" / "project"
    project.mkdir(parents=True)
    programs = folder / "bin"
    programs.mkdir()
    (programs / "claude").symlink_to(str(files("claude_agent_sdk").joinpath("_bundled/claude")))
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "HOST": "127.0.0.1",
        "SERVER_PORT": str(port),
        "ANTHROPIC_BASE_URL": model_url,
        "ANTHROPIC_API_KEY": "none",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("node", str(folder / "node_modules/@cloudcli-ai/cloudcli/dist-server/server/index.js")),
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=_CALL_S, trust_env=False) as http:

            async def answers() -> bool:
                assert process.returncode is None, (folder / "log").read_text()[-2000:]
                try:
                    return (await http.get("/api/auth/status")).status_code == httpx.codes.OK
                except httpx.TransportError:
                    return False

            await eventually(answers, seconds=_CALL_S, what=lambda: "CloudCLI answers")
            made = await http.post("/api/auth/register", json={"username": "bench", "password": "of one run only"})
            token = made.raise_for_status().json()["token"]
            http.headers["Authorization"] = f"Bearer {token}"
            url = f"ws://127.0.0.1:{port}/ws?token={token}"
            async with connect(url, max_size=_FRAME_BYTES, proxy=None) as websocket:
                yield CloudCli(http, websocket, project, process.pid)
    finally:
        await end(process, within_s=_CALL_S)
