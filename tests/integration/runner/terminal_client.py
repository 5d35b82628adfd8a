"""A client of a terminal's WebSocket that keeps what it has received."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed

from tests.integration.runner.harness import DEADLINE_S, Runner


class TerminalClient:
    """`text` is everything that the terminal wrote, `frames` the frames in between."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.output = bytearray()
        self.frames: list[dict[str, Any]] = []
        self.streams: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._stream = "stdout"

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "replace")

    async def open(self, **fields: Any) -> dict[str, Any]:
        """Send `open` and return the first frame."""
        await self.send(type="open", **fields)
        return await self.frame()

    async def send(self, **frame: Any) -> None:
        await self.connection.send(json.dumps(frame))

    async def type(self, text: str | bytes) -> None:
        await self.connection.send(text.encode() if isinstance(text, str) else text)

    async def next(self) -> dict[str, Any] | bytes:
        async with asyncio.timeout(DEADLINE_S):
            content = await self.connection.recv()
        if isinstance(content, bytes):
            self.output += content
            self.streams[self._stream] += content
            return content
        frame: dict[str, Any] = json.loads(content)
        if frame["type"] == "stream":
            self._stream = frame["stream"]
        self.frames.append(frame)
        return frame

    async def frame(self, kind: str = "") -> dict[str, Any]:
        """Read on to the next frame, of this type."""
        while True:
            frame = await self.next()
            if isinstance(frame, dict) and kind in {"", frame["type"]}:
                return frame

    async def until(self, condition: Callable[[str], bool]) -> str:
        """Read on until the text so far fits."""
        while not condition(self.text):
            await self.next()
        return self.text

    async def until_closed(self) -> int:
        """Read on to the end and return the close code."""
        try:
            while True:
                await self.next()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006


@asynccontextmanager
async def terminal(runner: Runner, token: str | None = None) -> AsyncIterator[TerminalClient]:
    """Connect to the public socket with a good token, or this one."""
    given = runner.token() if token is None else token
    async with unix_connect(
        str(runner.folder / "p.sock"),
        uri="ws://session/terminal",
        additional_headers={"Authorization": f"Bearer {given}"} if given else {},
        compression=None,
    ) as connection:
        yield TerminalClient(connection)
