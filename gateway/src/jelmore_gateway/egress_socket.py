"""A sandbox's socket for other hosts: connections on it belong to the sandbox and go through the egress proxy."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from jelmore_gateway.egress import AddressRules, EgressLimits, EgressProxy, EgressRecord, EgressSession, Holds, Policy
from jelmore_gateway.egress.bandwidth import Bandwidth
from jelmore_gateway.egress.limits import BUFFER_BYTES
from jelmore_gateway.egress.resolver import Dial, OwnAddresses, SystemResolver, dial
from jelmore_gateway.listener import SOCKET_MODE
from jelmore_gateway.state import State, StateError, now
from jelmore_protocol.descriptors import is_scarce
from jelmore_protocol.gateway import EGRESS_ROUTE, CallRecord, GatewayConfig, SandboxEntry
from jelmore_protocol.network import parse_rule

_log = structlog.get_logger(__name__)

MAX_WAITING_RECORDS: Final = 1000
MAX_REFUSED: Final = 64
"""Connections above the bound of a session that are answered with a refusal at once."""


@dataclass(slots=True)
class EgressWays:
    """What the proxies of all sandboxes share: the ways to the network, and this machine's addresses."""

    dial: Dial = dial
    resolve: SystemResolver = field(default_factory=SystemResolver)
    own_addresses: OwnAddresses = field(default_factory=OwnAddresses)
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    holds: Holds = field(default_factory=Holds)


class EgressSocket:
    """The egress of one sandbox. `close` cuts every connection."""

    def __init__(self, ways: EgressWays, records: "RecordWriter", entry: SandboxEntry, config: GatewayConfig) -> None:
        self._records = records
        self._entry = entry
        self._bandwidth = ways.bandwidth
        self._holds = ways.holds
        self._proxy = EgressProxy(
            self._report,
            resolve=ways.resolve,
            dial=ways.dial,
            own_addresses=ways.own_addresses,
            bandwidth=ways.bandwidth,
            holds=ways.holds,
        )
        self._session = EgressSession(entry.session_id, entry.generation)
        self._server: asyncio.Server | None = None
        self._open = 0
        self.update(entry, config)

    async def open_path(self, path: Path) -> None:
        """Listen. Raises OSError."""
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(path), limit=BUFFER_BYTES)
        path.chmod(SOCKET_MODE)

    def update(self, entry: SandboxEntry, config: GatewayConfig) -> None:
        """Apply a changed registration or configuration: what it forbids is cut. May run twice."""
        if entry.network != self._entry.network:
            self._session.network_changed()
        self._entry = entry
        bounds = config.egress
        self._proxy.addresses = AddressRules.parse(bounds.denied_networks, bounds.allowed_networks)
        self._bandwidth.set_rate(bounds.bytes_per_s)
        self._holds.ask_s = bounds.ask_s
        self._session.limits = EgressLimits(bounds.connections, bounds.total_bytes)
        if entry.revoked:
            self._end()
            return
        packages = tuple(parse_rule(text) for text in config.package_hosts)
        self._session.set_policy(Policy() if entry.held else Policy.of(entry.network, packages))
        self._holds.review(self._session)

    def close(self) -> None:
        """Stop listening and cut every connection, at once. May run twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._end()

    def _end(self) -> None:
        self._session.close()
        self._holds.review(self._session)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection. One too many is cut unanswered: an answer would keep its descriptor for a while."""
        if is_scarce(writer.transport) or self._open >= self._session.limits.connections + MAX_REFUSED:
            writer.transport.abort()
            return
        self._open += 1
        try:
            await self._proxy.serve(reader, writer, self._session)
        finally:
            self._open -= 1

    def _report(self, refused: EgressRecord) -> None:
        more = f" (and {refused.unreported} more)" if refused.unreported else ""
        self._records.put(
            CallRecord(
                seq=0,
                session_id=self._entry.session_id,
                generation=self._entry.generation,
                at=now(),
                route=EGRESS_ROUTE,
                status=403,
                method=refused.target + more,
                tool=refused.reason.value,
                host=refused.host,
                port=refused.port,
                unreported=refused.unreported,
                complete=False,
            )
        )


class RecordWriter:
    """Stores records from code that must not wait. `run` is its task."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._waiting: asyncio.Queue[CallRecord] = asyncio.Queue(MAX_WAITING_RECORDS)

    def put(self, record: CallRecord) -> None:
        """Take a record; it is dropped, and that is logged, when too many wait."""
        try:
            self._waiting.put_nowait(record)
        except asyncio.QueueFull:
            _log.warning("record_dropped", session_id=record.session_id, route=record.route)

    async def run(self) -> None:
        """Store records until cancelled."""
        while True:
            record = await self._waiting.get()
            try:
                await self._state.add_call(record)
            except StateError as error:
                _log.error("call_not_stored", session_id=record.session_id, error=str(error))
