"""One HTTP/1.1 connection: h11's state beside its streams."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import h11

from jelmore_gateway.egress.limits import BUFFER_BYTES, MAX_HEAD_BYTES, Deadlines
from jelmore_gateway.egress.policy import Refusal
from jelmore_gateway.egress.requests import Headers

LINGER_S: Final = 1.0
LINGER_READS: Final = 64


class GoneError(Exception):
    """The peer disconnected, was too slow or violated the protocol."""


@dataclass(slots=True)
class HttpSide:
    """Reads and sends HTTP events. `spend` gets the byte counts of bodies and heads in both directions; `pace` returns
    when they may continue.
    """

    http: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    deadlines: Deadlines
    spend: Callable[[int], None] = lambda _: None
    pace: Callable[[int], Awaitable[None]] | None = None

    async def next(self, deadline_s: float) -> Any:
        """Return the next HTTP event, within the deadline from now. Raises GoneError."""
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    event = self.http.next_event()
                    if event is not h11.NEED_DATA:
                        return event
                    data = await self.reader.read(BUFFER_BYTES)
                    self.spend(len(data))
                    if self.pace is not None:
                        await self.pace(len(data))
                    self.http.receive_data(data)
        except (TimeoutError, OSError, h11.ProtocolError) as error:
            raise GoneError(str(error) or "the peer was too slow") from None

    async def gone(self) -> None:
        """Return when the peer ends its side. What it sends before that is kept for `next`, up to BUFFER_BYTES."""
        kept = 0
        with suppress(OSError):
            while kept < BUFFER_BYTES:
                data = await self.reader.read(BUFFER_BYTES)
                if not data:
                    return
                self.http.receive_data(data)
                kept += len(data)
            await asyncio.get_running_loop().create_future()  # it sends more than is kept: read on after the decision

    async def send(self, event: Any) -> None:
        """Send an event; waits while the peer does not read. Raises GoneError."""
        try:
            data = self.http.send(event)
        except h11.ProtocolError as error:
            raise GoneError(str(error)) from None
        if data:
            self.spend(len(data))
            if self.pace is not None:
                await self.pace(len(data))
            await self.write(data)

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the peer does not read. Raises GoneError."""
        try:
            self.writer.write(data)
            async with asyncio.timeout(self.deadlines.write_s):
                await self.writer.drain()
        except (TimeoutError, OSError) as error:
            raise GoneError(f"cannot send: {error!r}") from None

    async def refuse(self, refusal: Refusal) -> None:
        """Respond with the refusal. Does nothing when a response has started or the peer has disconnected."""
        if self.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = f"jelmore: {refusal.text}\n".encode()
        headers: Headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"x-jelmore-egress", refusal.reason.encode()),
            (b"connection", b"close"),
        ]
        # Most clients show only the status line of a proxy's refusal, so the reason is there as well.
        line = refusal.text.encode("ascii", "replace")[:200]
        with suppress(GoneError):
            await self.send(h11.Response(status_code=refusal.status, headers=headers, reason=line))
            await self.send(h11.Data(data=body))
            await self.send(h11.EndOfMessage())
            await self._linger()

    async def _linger(self) -> None:
        """Read what the client is still sending, for a moment: closing at once could destroy the response."""
        with suppress(OSError, TimeoutError):
            if self.writer.can_write_eof():
                self.writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                for _ in range(LINGER_READS):
                    if not await self.reader.read(BUFFER_BYTES):
                        return


def server_side(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deadlines: Deadlines) -> HttpSide:
    """Return the side of a client that sends requests here."""
    return HttpSide(h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES), reader, writer, deadlines)


async def close(writer: asyncio.StreamWriter, deadline_s: float) -> None:
    """Close a connection once what is buffered has been sent, or by force at the deadline."""
    writer.close()
    try:
        async with asyncio.timeout(deadline_s):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()
