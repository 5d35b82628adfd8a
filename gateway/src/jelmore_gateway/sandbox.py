"""One registered sandbox: its open streams, and how they are cut."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from jelmore_gateway.refusals import RefusedError, forbidden, unavailable
from jelmore_protocol.gateway import SandboxEntry

MAX_STREAMS: Final = 64
"""Calls at once. A runner's forwarder opens no more."""


@dataclass(slots=True)
class Sandbox:
    """A sandbox that may use the gateway. `entry` is replaced when its registration changes."""

    entry: SandboxEntry
    _streams: set[asyncio.Transport] = field(default_factory=set)

    @property
    def streams(self) -> int:
        """How many calls are under way."""
        return len(self._streams)

    def refusal(self) -> RefusedError | None:
        """Return why it may make no call now, None when it may."""
        if self.entry.revoked:
            return forbidden("the session has ended")
        if self.entry.held:
            return forbidden("no session has this sandbox yet")
        if len(self._streams) >= MAX_STREAMS:
            return unavailable(f"a session may make {MAX_STREAMS} calls at once")
        return None

    @contextmanager
    def stream(self, transport: asyncio.Transport) -> Iterator[None]:
        """Count a call while it runs; `cut` ends it by closing `transport`."""
        self._streams.add(transport)
        try:
            yield
        finally:
            self._streams.discard(transport)

    def cut(self) -> None:
        """Close the connection of every call under way, at once."""
        for transport in tuple(self._streams):
            transport.abort()
