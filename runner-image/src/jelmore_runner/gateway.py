"""The only way out of a sandbox: a loopback forwarder to the gateway.

The socket on which a request arrives there says whose it is; over a network, the session's token says it.

It parses every request's head and serves one request per connection, so an agent can neither hide a second request
behind the first nor send a token of its own. Request and response bodies are streamed as they arrive.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import h11

from jelmore_protocol.descriptors import is_scarce
from jelmore_protocol.tracing import CONTEXT_HEADERS, HEADER
from jelmore_runner.loopback import CHUNK_BYTES, LoopbackServer
from jelmore_runner.settings import Address

MAX_HEAD_BYTES: Final = 64 * 1024
HEAD_DEADLINE_S: Final = 30.0
SILENCE_DEADLINE_S: Final = 900.0  # a model may think for minutes; its stream sends pings meanwhile

_CREDENTIALS: Final = frozenset(b"authorization x-api-key proxy-authorization".split())
_HOP_BY_HOP: Final = frozenset(b"connection keep-alive proxy-connection te trailer upgrade expect".split())
_NOT_FORWARDED: Final = _CREDENTIALS | _HOP_BY_HOP
_CONTEXT: Final = frozenset(name.encode() for name in CONTEXT_HEADERS)

type Headers = list[tuple[bytes, bytes]]


class _GoneError(Exception):
    """One side disconnected, timed out or violated the protocol."""


@dataclass(slots=True)
class _Side:
    """One connection with its HTTP state."""

    http: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def next(self, deadline_s: float) -> Any:
        """Return the next HTTP event. Raises _GoneError."""
        while True:
            try:
                event = self.http.next_event()
            except h11.ProtocolError as error:
                raise _GoneError(str(error)) from None
            if event is not h11.NEED_DATA:
                return event
            try:
                async with asyncio.timeout(deadline_s):
                    self.http.receive_data(await self.reader.read(CHUNK_BYTES))
            except (TimeoutError, OSError) as error:
                raise _GoneError(f"no data: {error!r}") from None

    async def send(self, event: Any) -> None:
        """Send an event; waits while the peer does not read. Raises _GoneError."""
        try:
            data = self.http.send(event)
            if data:
                self.writer.write(data)
                async with asyncio.timeout(SILENCE_DEADLINE_S):
                    await self.writer.drain()
        except (TimeoutError, OSError, h11.ProtocolError) as error:
            raise _GoneError(f"cannot send: {error!r}") from None

    async def close(self) -> None:
        """Close the connection, within a second."""
        self.writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self.writer.wait_closed()


class Gateway(LoopbackServer):
    """Forwards from 127.0.0.1 to the gateway. Adds `token` to every request, unless it is empty.

    `trace` returns the `traceparent` that a request gets in place of the agent's own, empty for none. While `closed`,
    every request is refused here and none reaches the gateway.
    """

    def __init__(self, address: Address, token: str, trace: Callable[[], str] = str, *, closed: bool = False) -> None:
        super().__init__(address)
        self.closed = closed
        self.token = token
        self.trace = trace

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        agent = _Side(h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES), reader, writer)
        try:
            if is_scarce(writer.transport):  # the agent's idle connections must not take the journal's descriptors
                await _refuse(agent, 503, "api_error", "too many connections are open")
                return
            async with self.slots:
                await self._exchange(agent)
        except _GoneError:
            pass  # Claude Code retries; a partly sent response must simply end
        finally:
            await agent.close()

    async def _exchange(self, agent: _Side) -> None:
        try:
            request = await agent.next(HEAD_DEADLINE_S)
        except _GoneError as error:
            if agent.http.their_state is h11.ERROR:
                await _refuse(agent, 400, "invalid_request_error", str(error))
            raise
        if not isinstance(request, h11.Request):
            return
        # h11 limits only heads that arrive in several pieces.
        if sum(len(name) + len(value) + 4 for name, value in request.headers) > MAX_HEAD_BYTES:
            await _refuse(agent, 431, "invalid_request_error", f"a request's head is at most {MAX_HEAD_BYTES} bytes")
            return
        if self.closed:  # 404: Claude Code tries again after most others
            await _refuse(agent, 404, "not_found_error", "there is no session yet")
            return
        if not request.target.startswith(b"/"):
            await _refuse(agent, 400, "invalid_request_error", "only paths of the model gateway are served here")
            return
        try:
            reader, writer = await self.connect()
        except (OSError, TimeoutError) as error:
            await _refuse(agent, 503, "api_error", f"the model gateway cannot be reached: {error!r}")
            return
        gateway = _Side(h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES), reader, writer)
        try:
            await self._pass_on(agent, gateway, request)
        finally:
            await gateway.close()

    async def _pass_on(self, agent: _Side, gateway: _Side, request: h11.Request) -> None:
        headers = self._headers(request.headers)
        await gateway.send(h11.Request(method=request.method, target=request.target, headers=headers))
        upload = asyncio.create_task(_upload(agent, gateway), name="gateway upload")
        try:
            await _download(gateway, agent)
        except _GoneError as error:
            if agent.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                raise  # the head is already sent, so only closing can signal the failure
            await _refuse(agent, 503, "api_error", f"the model gateway broke off: {error}")
        finally:
            upload.cancel()
            await asyncio.wait({upload})

    def _headers(self, incoming: Iterable[tuple[bytes, bytes]]) -> Headers:
        kept = [
            (name, value)
            for name, value in incoming
            if name.lower() not in _NOT_FORWARDED | _CONTEXT and not name.lower().startswith(b"x-jelmore-")
        ]
        own = [(b"Connection", b"close")]
        if self.token:
            own.append((b"Authorization", f"Bearer {self.token}".encode()))
        if trace := self.trace():
            own.append((HEADER.encode(), trace.encode()))
        if not any(name.lower() == b"host" for name, _ in kept):
            own.append((b"Host", b"gateway"))  # optional in HTTP/1.0, required in the HTTP/1.1 sent here
        return kept + own


async def _upload(agent: _Side, gateway: _Side) -> None:
    try:
        while True:
            if agent.http.they_are_waiting_for_100_continue:
                await agent.send(h11.InformationalResponse(status_code=100, headers=[]))
            event = await agent.next(SILENCE_DEADLINE_S)
            if isinstance(event, h11.Data | h11.EndOfMessage):
                await gateway.send(event)
            if not isinstance(event, h11.Data):
                break
        # Only the agent's disconnect can follow: pass it on by closing the connection to the gateway.
        await agent.reader.read(1)
    except (_GoneError, OSError):
        pass
    gateway.writer.close()


async def _download(gateway: _Side, agent: _Side) -> None:
    while True:
        event = await gateway.next(SILENCE_DEADLINE_S)
        match event:
            case h11.Response():
                kept = [(name, value) for name, value in event.headers if name.lower() not in _NOT_FORWARDED]
                headers = [*kept, (b"Connection", b"close")]
                await agent.send(h11.Response(status_code=event.status_code, headers=headers, reason=event.reason))
            case h11.Data():
                await agent.send(h11.Data(data=event.data))
            case h11.EndOfMessage():
                await agent.send(h11.EndOfMessage())
                return
            case h11.InformationalResponse():
                continue
            case _:
                raise _GoneError("the gateway closed the connection")


async def _refuse(agent: _Side, status: int, kind: str, text: str) -> None:
    """Respond with an error in the format of the Messages API, which Claude Code understands. It retries after 503."""
    body = json.dumps({"type": "error", "error": {"type": kind, "message": text}}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
    with suppress(_GoneError):
        await agent.send(h11.Response(status_code=status, headers=headers))
        await agent.send(h11.Data(data=body))
        await agent.send(h11.EndOfMessage())
