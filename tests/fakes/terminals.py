"""`TerminalLinks` in memory: every terminal repeats what is typed, in capitals."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from jelmore.ports import ControlAddress, TerminalClosedError, TerminalLink
from jelmore.session.errors import DependencyError


@dataclass
class EchoLink:
    """One connection. `frames` is what the client sent."""

    frames: list[str | bytes] = field(default_factory=list)
    inbox: "asyncio.Queue[str | bytes | None]" = field(default_factory=asyncio.Queue)
    code: int = 1000
    closed: bool = False

    async def receive(self) -> str | bytes:
        frame = await self.inbox.get()
        if frame is None:
            raise TerminalClosedError(self.code)
        return frame

    async def send(self, frame: str | bytes) -> None:
        self.frames.append(frame)
        if isinstance(frame, bytes):
            await self.inbox.put(frame.upper())
        elif json.loads(frame)["type"] == "end":
            await self.inbox.put('{"type":"exit","code":0}')
            await self.inbox.put(None)

    async def close(self) -> None:
        self.closed = True


@dataclass
class FakeTerminals:
    """All connections. `refusals` counts down: that many attempts find a runner that is not ready."""

    links: list[EchoLink] = field(default_factory=list)
    opened: list[dict[str, Any]] = field(default_factory=list)
    refusals: int = 0

    async def connect(self, at: ControlAddress, opening: str, *, subject: str, can_write: bool) -> TerminalLink:
        if self.refusals:
            self.refusals -= 1
            raise DependencyError("runner", "it takes no terminals for now")
        self.opened.append({**json.loads(opening), "at": at, "subject": subject, "can_write": can_write})
        link = EchoLink()
        self.links.append(link)
        await link.inbox.put('{"type":"opened","terminal":"main","instance":"i","position":0,"writer":true}')
        return link
