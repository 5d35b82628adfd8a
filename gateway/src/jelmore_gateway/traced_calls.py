"""The spans of the calls that sandboxes make through the gateway: names, ids, statuses and counts, no content."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from aiohttp import web

from jelmore_gateway.meter import Tokens
from jelmore_gateway.model_requests import model_path
from jelmore_gateway.refusals import RefusedError
from jelmore_protocol.gateway import SandboxEntry
from jelmore_protocol.tracing import HEADER, Attributes, Kind, Span, Tracing, checked


class TracedCalls:
    """Makes a span for each call, below the one that its runner names."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    @contextmanager
    def span(self, entry: SandboxEntry, request: web.BaseRequest, target: str) -> Iterator[Span]:
        """Trace one call to `target`: the model API, or a route with its name."""
        path = model_path(request.raw_path)
        attributes: Attributes = {
            "http.request.method": request.method,
            "jelmore.session_id": entry.session_id,
            "jelmore.generation": entry.generation,
        }
        with self._tracing.span(
            f"{target} {path}" if path else target, Kind.CLIENT, attributes, checked(request.headers.get(HEADER))
        ) as span:
            try:
                yield span
            except RefusedError as error:
                note_status(span, error.status)
                raise


def note_status(span: Span, status: int) -> None:
    """Add the status of the response: at its beginning, because a caller may leave before its last byte."""
    span.set(http__response__status_code=status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.fail(str(status))


def note_tokens(span: Span, tokens: Tokens) -> None:
    """Add what a call of the model used."""
    if tokens.found:
        span.set(
            gen_ai__response__model=tokens.model,
            gen_ai__usage__input_tokens=tokens.input_tokens,
            gen_ai__usage__output_tokens=tokens.output_tokens,
        )
