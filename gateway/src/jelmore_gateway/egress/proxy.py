"""The egress proxy: checks what a sandbox asks for, dials the checked address, and carries the bytes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Final

import h11

from jelmore_gateway.egress.addresses import Address, AddressRules
from jelmore_gateway.egress.bandwidth import Bandwidth
from jelmore_gateway.egress.client_hello import ACCESS_DENIED, UNRECOGNIZED_NAME, alert
from jelmore_gateway.egress.holds import Holds
from jelmore_gateway.egress.http_side import GoneError, HttpSide, close, server_side
from jelmore_gateway.egress.limits import BUFFER_BYTES, MAX_ADDRESSES, MAX_HEAD_BYTES, Deadlines
from jelmore_gateway.egress.plain_http import exchange
from jelmore_gateway.egress.policy import Reason, Refusal, Target
from jelmore_gateway.egress.requests import Forward, Tunnel, read_inner_request, read_request
from jelmore_gateway.egress.resolver import Dial, OwnAddresses, Resolve, Streams, SystemResolver, dial
from jelmore_gateway.egress.session import EgressRecord, EgressSession, LiveConnection
from jelmore_gateway.egress.tunnel import TLS_FIRST_BYTE, RefusedError, Relay, read_hello
from jelmore_protocol.network import STANDARD_PORTS, literal_address

HTTP_PORT: Final = 80
CLOSE_S: Final = 1.0


@dataclass(slots=True)
class EgressProxy:
    """Serves the connections of all sessions. `report` is called for refusals and must not block."""

    report: Callable[[EgressRecord], None]
    addresses: AddressRules = field(default_factory=AddressRules)
    deadlines: Deadlines = field(default_factory=Deadlines)
    resolve: Resolve = field(default_factory=SystemResolver)
    dial: Dial = dial
    own_addresses: Callable[[], Iterable[Address]] = field(default_factory=OwnAddresses)
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    holds: Holds = field(default_factory=Holds)
    _asking: "set[asyncio.Task[list[Address]]]" = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: EgressSession) -> None:
        """Serve one connection of a session and close it. Raises nothing but CancelledError.

        The reader should have a limit of BUFFER_BYTES, which bounds what is held of the connection.
        """
        client = server_side(reader, writer, self.deadlines)
        live = LiveConnection(session, writer.transport.abort)
        try:
            if (refusal := session.admission()) is not None:
                await self._refuse(client, live, refusal)
                return
            session.connections.add(live)
            with suppress(GoneError):
                await self._serve(client, live)
            if live.cut is not None:
                self._record(live, live.cut)
        finally:
            await close(writer, self.deadlines.write_s)
            session.connections.discard(live)

    async def _serve(self, client: HttpSide, live: LiveConnection) -> None:
        try:
            request = await client.next(self.deadlines.head_s)
        except GoneError as error:
            if client.http.their_state is h11.ERROR:
                await self._refuse(client, live, Refusal(Reason.BAD_REQUEST, str(error), 400))
            raise
        if not isinstance(request, h11.Request):
            return
        asked = read_request(request.method, request.target, request.http_version, request.headers)
        if isinstance(asked, Refusal):
            await self._refuse(client, live, asked)
            return
        live.target = asked.target  # from here on, a change of policy cuts this connection
        method = request.method.decode("ascii", "replace")
        upstream = await self._refusal(client, live, asked.target, method) or await self._open(live, asked.target)
        if isinstance(upstream, Refusal):
            await self._refuse(client, live, upstream)
            return
        live.abort_upstream = upstream[1].transport.abort
        try:
            if live.cut is not None:
                return
            match asked:
                case Tunnel(target):
                    await self._tunnel(client, live, upstream, target)
                case Forward():
                    await exchange(client, self._upstream_side(live, upstream), request.method, asked)
        finally:
            await close(upstream[1], CLOSE_S)

    async def _refusal(self, client: HttpSide, live: LiveConnection, target: Target, method: str) -> Refusal | None:
        """Return why the name of a target is refused, None when it is not; where the policy says so, ask a person.

        No name is looked up before that: the look-up itself could carry data out.
        """
        session = live.session
        refusal = session.refusal(target)
        if refusal is None or not session.policy.asks(target):
            return refusal
        if literal_address(target.host) is not None and (denial := self._denial(target, [ip_address(target.host)])):
            return denial
        live.waits = True
        try:
            refusal = await self.holds.ask(session, target, method, client.gone)
        finally:
            live.waits = False
        # What is allowed for the session is allowed by its policy, and ends with it.
        live.approved = refusal is None and session.refusal(target) is not None
        return refusal

    def _denial(self, target: Target, found: list[Address]) -> Refusal | None:
        """Return why one of the addresses must not be dialled, whoever allows the name."""
        own = frozenset(self.own_addresses())
        for address in found:
            if (why := self.addresses.denial(address, own)) is not None:
                return Refusal(Reason.ADDRESS_DENIED, f"{target.host} leads to {address}, which is blocked ({why})")
        return None

    async def _open(self, live: LiveConnection, target: Target) -> Streams | Refusal:
        """Return a connection to a checked address of the target, or why there is none."""
        found = await self._look_up(live.session, target)
        if isinstance(found, Refusal):
            return found
        if (denial := self._denial(target, found)) is not None:
            return denial
        failure = "no address"
        for address in found[:MAX_ADDRESSES]:
            if live.cut is not None:
                return live.cut
            try:
                async with asyncio.timeout(self.deadlines.connect_s):
                    return await self.dial(address, target.port)
            except (OSError, TimeoutError) as error:
                failure = str(error) or "it did not answer in time"
        return Refusal(Reason.CONNECT_FAILED, f"cannot connect to {target}: {failure}", 502)

    async def _look_up(self, session: EgressSession, target: Target) -> list[Address] | Refusal:
        """Return every address of the target, from the only lookup that is made for this connection.

        A lookup that nobody waits for any more keeps its place in the session until it has ended: a resolver that hangs
        holds a thread, and one session must not hold all of them.
        """
        if literal_address(target.host) is not None:
            return [ip_address(target.host)]
        try:
            async with asyncio.timeout(self.deadlines.resolve_s):
                await session.lookups.acquire()
                asking = asyncio.create_task(self._asked(session, target.host), name="egress lookup")
                self._asking.add(asking)
                asking.add_done_callback(self._asked_for)
                found = await asyncio.shield(asking)
        except (OSError, TimeoutError, UnicodeError) as error:
            text = f"cannot look up {target.host}: {str(error) or 'no answer in time'}"
            return Refusal(Reason.NAME_NOT_FOUND, text, 502)
        return found or Refusal(Reason.NAME_NOT_FOUND, f"{target.host} has no address", 502)

    async def _asked(self, session: EgressSession, name: str) -> list[Address]:
        try:
            return await self.resolve(name)
        finally:
            session.lookups.release()

    def _asked_for(self, asking: "asyncio.Task[list[Address]]") -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # so that one that nobody waits for is not reported as lost

    async def _tunnel(self, client: HttpSide, live: LiveConnection, upstream: Streams, target: Target) -> None:
        await client.next(self.deadlines.head_s)  # the end of the CONNECT request
        await client.send(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
        first = client.http.trailing_data[0]
        if target.port == HTTP_PORT:
            first = first or await self._first_bytes(client.reader)
            if first[0] != TLS_FIRST_BYTE:
                await self._inner_http(client, live, upstream, target, first)
                return
        relay = Relay(self.deadlines, live.spend, self._pace(live))
        download = asyncio.create_task(relay.copy(upstream[0], client.writer), name="egress download")
        upload = asyncio.create_task(self._checked_upload(relay, client, live, upstream, first), name="egress upload")
        both = {download, upload}
        try:
            # The host's end ends the tunnel. The client's does not: the answer may still be on its way.
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not download.done() and upload.exception() is None:
                await asyncio.wait({download})
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _checked_upload(
        self, relay: Relay, client: HttpSide, live: LiveConnection, upstream: Streams, first: bytes
    ) -> None:
        """Pass on what the client sends, once its first bytes have been found to fit the target."""
        assert live.target is not None  # noqa: S101 - set before the upstream was opened
        target, writer = live.target, upstream[1]
        listed = target.port not in STANDARD_PORTS and live.session.policy.lists(target)
        try:
            if listed:  # another protocol, where the host may speak first
                first = first or await client.reader.read(BUFFER_BYTES)
            if not listed or first[:1] == bytes((TLS_FIRST_BYTE,)):
                first = await read_hello(client.reader, first, target, self.deadlines)
        except RefusedError as error:
            with suppress(GoneError):
                differs = error.refusal.reason is Reason.SERVER_NAME_DIFFERS
                await client.write(alert(UNRECOGNIZED_NAME if differs else ACCESS_DENIED))
            self._record(live, error.refusal)
            raise GoneError(error.refusal.text) from None
        live.spend(len(first))
        writer.write(first)
        await relay.copy(client.reader, writer)

    async def _inner_http(
        self, client: HttpSide, live: LiveConnection, upstream: Streams, target: Target, first: bytes
    ) -> None:
        """Serve a plain HTTP request inside a tunnel to port 80 as if it had been sent to the proxy."""
        inner = server_side(client.reader, client.writer, self.deadlines)
        inner.http.receive_data(first)
        request = await inner.next(self.deadlines.head_s)
        if not isinstance(request, h11.Request):
            return
        asked = read_inner_request(target, request.target, request.http_version, request.headers)
        if isinstance(asked, Refusal):
            await self._refuse(inner, live, asked)
            return
        await exchange(inner, self._upstream_side(live, upstream), request.method, asked)

    async def _first_bytes(self, reader: asyncio.StreamReader) -> bytes:
        """Return what the client sends first. Raises GoneError when it sends nothing in time."""
        try:
            async with asyncio.timeout(self.deadlines.hello_s):
                first = await reader.read(BUFFER_BYTES)
        except (TimeoutError, OSError) as error:
            raise GoneError(str(error) or "nothing came through the tunnel in time") from None
        if not first:
            raise GoneError("the client left")
        return first

    def _upstream_side(self, live: LiveConnection, upstream: Streams) -> HttpSide:
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        return HttpSide(http, *upstream, self.deadlines, live.spend, self._pace(live))

    def _pace(self, live: LiveConnection) -> Callable[[int], Awaitable[None]]:
        return partial(self.bandwidth.take, live.session.session_id)

    async def _refuse(self, client: HttpSide, live: LiveConnection, refusal: Refusal) -> None:
        self._record(live, refusal)
        await client.refuse(refusal)

    def _record(self, live: LiveConnection, refusal: Refusal) -> None:
        session, target = live.session, str(live.target or "")
        unreported = session.ledger.admit(target, refusal.reason, time.monotonic())
        if unreported is not None:
            host, port = (live.target.host, live.target.port) if live.target else ("", 0)
            text = refusal.text
            self.report(EgressRecord(session.session_id, target, refusal.reason, text, unreported, host, port))
