"""A git host: bare repositories in a folder over HTTP, served by git's own backend, behind a user name and password."""

import asyncio
import base64
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tests.support.http_servers import listening

USER_AND_PASSWORD = "bot:s3cret-token"
BASIC = base64.b64encode(USER_AND_PASSWORD.encode()).decode()


@dataclass
class GitServer:
    """One git host. Below `/private/` it wants the password, also for reading; a push wants it everywhere."""

    root: Path
    port: int = 0
    seen: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.raw_path}")
        allowed = request.headers.get("Authorization") == f"Basic {BASIC}"
        pushes = "git-receive-pack" in request.raw_path
        if (pushes or request.path.startswith("/private/")) and not allowed:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        if request.path.startswith("/moved/"):
            return web.Response(status=301, headers={"Location": request.raw_path.replace("/moved/", "/open/")})
        if request.path.startswith("/endless/"):
            return web.Response(content_type="application/x-git-upload-pack-advertisement", body=_endless_refs())
        return await self._backend(request)

    async def _backend(self, request: web.Request) -> web.StreamResponse:
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "bot",
        }
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        out, _ = await process.communicate(await request.read())
        head, _, body = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200 OK").split()[0])
        return web.Response(status=status, headers=headers, body=body)


def _endless_refs() -> bytes:
    """Return 2 MB of refs that all match a request for HEAD."""
    names = [f"refs/{number:040}/HEAD" for number in range(30_000)]
    lines = [f"{'a' * 40} HEAD\0agent=endless\n", *(f"{'a' * 40} {name}\n" for name in names)]
    packets = "".join(f"{len(line) + 4:04x}{line}" for line in lines)
    return b"001e# service=git-upload-pack\n0000" + packets.encode() + b"0000"


@asynccontextmanager
async def git_server(root: Path) -> AsyncIterator[GitServer]:
    """Serve the repositories below a folder."""
    server = GitServer(root)
    app = web.Application(client_max_size=2**30, handler_args={"auto_decompress": False})
    app.router.add_route("*", "/{path:.*}", server.serve)
    async with listening(app) as server.port:
        yield server
