"""MCP's older transport: a stream of events, whose first one names where the client posts its messages.

The address in that event is one of the server's, which a sandbox does not reach. So that one event is rewritten to a
path on the route, and all else passes as it is. A sandbox may post only to addresses that a stream of its own, which is
still open, has announced: the server may have other pages beside them. When an admin changes the route, what its
streams announced is void: the new credential must not go to the old server.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin, urlsplit

from jelmore_gateway.named_routes import Target
from jelmore_gateway.refusals import RefusedError
from jelmore_protocol.gateway import Route

MAX_HEAD_BYTES: Final = 64 * 1024
"""What may come before the event is complete."""


class StreamError(ValueError):
    """A stream does not begin as the transport says."""


@dataclass(slots=True)
class _Endpoint:
    """An address, the route as it was when it was announced, and the open streams that did so."""

    route: Route
    url: str
    streams: Counter[object] = field(default_factory=Counter)


class Endpoints:
    """The addresses that the open streams of sandboxes have announced."""

    def __init__(self) -> None:
        self._announced: dict[tuple[str, str], _Endpoint] = {}

    def add(self, sandbox: str, path: str, target: Target, stream: object) -> None:
        """Let a sandbox post to `path`, which leads to `target`, while the stream is open."""
        known = self._announced.get((sandbox, path))
        if known is None or (known.route, known.url) != (target.route, target.url):
            known = self._announced[sandbox, path] = _Endpoint(target.route, target.url)
        known.streams[stream] += 1

    def drop(self, stream: object) -> None:
        """Forget what a stream has announced. May run twice."""
        for key, endpoint in list(self._announced.items()):
            del endpoint.streams[stream]
            if not endpoint.streams:
                del self._announced[key]

    def resolve(self, sandbox: str, path: str, target: Target) -> Target:
        """Return where a request goes: the stream itself, or an announced address. Raises RefusedError."""
        if path.partition("?")[0] == f"/{target.route.name}":
            return target
        found = self._announced.get((sandbox, path))
        if found is None or found.route != target.route:
            raise RefusedError(404, "not_found_error", f"no open stream of {target.route.name} has named this address")
        return Target(target.route, found.url)


class EndpointRewriter:
    """Rewrites the event `endpoint` of one stream, in pieces as they come."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._waiting = bytearray()
        self._done = False
        self.path = ""  # where the sandbox posts to
        self.url = ""  # where that leads to

    def feed(self, data: bytes) -> bytes:
        """Return what passes now. Raises StreamError when the address is on another server, or comes too late."""
        if self._done:
            return data
        self._waiting += data
        passed = bytearray()
        while (end := _event_end(self._waiting)) and not self.url:
            event = bytes(self._waiting[:end])
            del self._waiting[:end]
            passed += self._event(event)
        if self.url:
            self._done = True
            passed += self._waiting
            self._waiting.clear()
        elif len(self._waiting) > MAX_HEAD_BYTES:
            raise StreamError("the stream does not begin with the address for messages")
        return bytes(passed)

    def _event(self, event: bytes) -> bytes:
        fields = dict(_field(line) for line in event.decode("utf-8", "replace").splitlines() if line)
        if fields.get("event") != "endpoint":
            return event
        url = urljoin(self._target.url, fields.get("data", ""))
        there, base = urlsplit(url), urlsplit(self._target.route.url)
        if (there.scheme, there.netloc) != (base.scheme, base.netloc) or not _is_printable(url):
            raise StreamError("the address for messages is on another server")
        self.url = url.partition("#")[0]
        self.path = f"/{self._target.route.name}{there.path}" + (f"?{there.query}" if there.query else "")
        return f"event: endpoint\ndata: {self.path}\n\n".encode()


def _event_end(data: bytearray) -> int:
    """Return where the first event ends, behind its empty line; 0 while it is not complete."""
    ends = [at + len(mark) for mark in (b"\n\n", b"\r\n\r\n", b"\r\r") if (at := data.find(mark)) >= 0]
    return min(ends, default=0)


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.removeprefix(" ")


def _is_printable(url: str) -> bool:
    return all("\x21" <= each <= "\x7e" for each in url)
