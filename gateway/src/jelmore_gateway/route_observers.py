"""What is seen of the responses of routes: redirects, calls of MCP servers, and streams of their older transport."""

import asyncio
from http import HTTPStatus

import aiohttp
import structlog
from multidict import CIMultiDict

from jelmore_gateway.forward import Observer
from jelmore_gateway.named_routes import Target, location_for
from jelmore_gateway.sse_transport import EndpointRewriter, Endpoints
from jelmore_gateway.state import State, StateError, now
from jelmore_protocol.gateway import CallRecord, SandboxEntry

_log = structlog.get_logger(__name__)


class Redirects(Observer):
    """Keeps redirects on the route."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def begin(self, response: aiohttp.ClientResponse) -> None:
        """Refuse a redirect to another place."""
        self.headers(response)

    def headers(self, response: aiohttp.ClientResponse) -> CIMultiDict[str]:
        """Return the response's headers, with a redirect as a path on the route."""
        headers = CIMultiDict(response.headers)
        location = headers.get("Location")
        if location is not None and HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
            headers["Location"] = location_for(location, self.target)
        return headers


class McpAudit(Redirects):
    """Records a call to an MCP server: method and tool, no arguments."""

    def __init__(
        self, target: Target, entry: SandboxEntry, state: State, call: tuple[str, str], http_method: str
    ) -> None:
        super().__init__(target)
        self.entry = entry
        self._state = state
        self._call = call
        self._http_method = http_method
        self._status = 0

    def begin(self, response: aiohttp.ClientResponse) -> None:
        """Take the status."""
        super().begin(response)
        self._status = response.status

    async def end(self, *, complete: bool) -> None:
        """Store the record. A failure is logged and does not end the response."""
        method, tool = self._call
        record = CallRecord(
            seq=0,
            session_id=self.entry.session_id,
            generation=self.entry.generation,
            at=now(),
            route=self.target.route.name,
            status=self._status,
            method=method or self._http_method,
            tool=tool,
            complete=complete,
        )
        try:
            await asyncio.shield(self._state.add_call(record))
        except StateError as error:
            _log.error("call_not_stored", session_id=record.session_id, error=str(error))


class SseAudit(Observer):
    """Lets a sandbox post to the address that a stream announces, while the stream is open."""

    def __init__(self, audit: McpAudit, endpoints: Endpoints) -> None:
        self._audit = audit
        self._endpoints = endpoints
        self._rewriter: EndpointRewriter | None = None

    def begin(self, response: aiohttp.ClientResponse) -> None:
        """Rewrite only what is a stream: the page of an error passes as it is."""
        self._audit.begin(response)
        if response.status == HTTPStatus.OK and response.content_type == "text/event-stream":
            self._rewriter = EndpointRewriter(self._audit.target)

    def headers(self, response: aiohttp.ClientResponse) -> CIMultiDict[str]:
        """Return the headers without the length, which changes."""
        headers = self._audit.headers(response)
        if self._rewriter is not None:
            headers.popall("Content-Length", None)
        return headers

    def piece(self, data: bytes) -> bytes:
        """Return the next piece; the address in it leads to the route."""
        if self._rewriter is None:
            return data
        passed = self._rewriter.feed(data)
        if self._rewriter.url:
            target = Target(self._audit.target.route, self._rewriter.url)
            self._endpoints.add(self._audit.entry.key, self._rewriter.path, target, self)
            self._rewriter = None
        return passed

    async def end(self, *, complete: bool) -> None:
        """Forget the address and store the record."""
        self._endpoints.drop(self)
        await self._audit.end(complete=complete)
