"""Who asks `/health` all the time: what was said while something was away, and when all was well again."""

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx
import redis.asyncio

from tests.chaos.installation import Installation
from tests.chaos.notebook import Notebook

_EVERY_S: Final = 0.2
_ASK_S: Final = 6.0


class Watch:
    """Asks the managers at their own sockets, past Caddy, and Caddy for what people see."""

    def __init__(self, installation: Installation, http: httpx.AsyncClient, notebook: Notebook) -> None:
        self._installation = installation
        self._http = http
        self._notebook = notebook
        self._said: list[tuple[float, frozenset[str]]] = []
        self._last: dict[Path, frozenset[str]] = {}
        self._redis_url = installation.redis_url()

    async def run(self) -> None:
        """Ask for ever, until cancelled."""
        while True:
            await asyncio.gather(*(self._listen(socket) for socket in self._installation.manager_sockets()))
            await asyncio.sleep(_EVERY_S)

    async def _listen(self, socket: Path) -> None:
        asked = self._notebook.now_s()
        report = await self._ask(socket, "/health")
        if report is None:
            return
        named = frozenset(report["degraded"])
        self._said.append((asked, named))
        if named != self._last.get(socket, frozenset()):
            self._notebook.say(f"/health of manager {socket.stem}: {report['status']} {sorted(named)}")
        self._last[socket] = named

    def degraded_now(self) -> frozenset[str]:
        """Return what the last answer of each manager has named."""
        return frozenset().union(*self._last.values())

    def degraded_since(self, since_s: float) -> frozenset[str]:
        """Return what the answers to questions asked since then have named."""
        return frozenset().union(*(named for asked, named in self._said if asked >= since_s))

    async def serves(self, socket: Path, seconds: float) -> bool:
        """Return whether the manager at this socket becomes ready within that time."""
        try:
            async with asyncio.timeout(seconds):
                while await self._ask(socket, "/readyz") is None:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return False
        return True

    async def all_well(self) -> str:
        """Return the empty text when everything works, as people see it; else what does not."""
        try:
            answer = await self._http.get("/health", timeout=_ASK_S)
            report = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            return f"/health does not answer through Caddy: {error!r}"
        if "loops" not in report:
            return f"/health answers {answer.status_code}: {str(report)[:200]}"
        idle = [name for name, loop in report["loops"].items() if loop.get("running") is False]
        if report["status"] != "ok":
            failing = {name: check["message"] for name, check in report["checks"].items() if check["status"] != "ok"}
            return f"/health says {report['status']}: {failing}"
        return f"loops do not run: {idle}" if idle else ""

    async def until_well(self, seconds: float) -> str:
        """Return when everything works, or after that time what does not."""
        try:
            async with asyncio.timeout(seconds):
                while why := await self.all_well():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return why
        return ""

    async def flush_redis(self) -> None:
        """Take everything out of Redis."""
        client: Any = redis.asyncio.Redis.from_url(self._redis_url, protocol=2, socket_timeout=5)
        try:
            await client.flushall()
        finally:
            await client.aclose()

    async def _ask(self, socket: Path, path: str) -> dict[str, Any] | None:
        transport = httpx.AsyncHTTPTransport(uds=str(socket))
        try:
            async with httpx.AsyncClient(transport=transport, timeout=_ASK_S) as client:
                answer = await client.get(f"http://manager{path}")
                report: dict[str, Any] = answer.json()
                return report if path == "/health" or answer.status_code == 200 else None
        except (httpx.HTTPError, OSError, ValueError):
            return None
