"""Spans of OpenTelemetry, sent with OTLP over HTTP by the official SDK from a thread of its own.

The SDK holds at most 2,048 spans and drops what exceeds that, so a receiver that hangs costs spans and nothing else.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Final, override

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jelmore_protocol import tracing
from jelmore_protocol.tracing import CURRENT, Attributes, Kind, Span, Value

EXPORT_S: Final = 10.0
QUEUE_SPANS: Final = 2048
MAX_VALUE_CHARACTERS: Final = 256

_KINDS: Final = {
    Kind.SERVER: trace.SpanKind.SERVER,
    Kind.CLIENT: trace.SpanKind.CLIENT,
    Kind.INTERNAL: trace.SpanKind.INTERNAL,
}
_propagator: Final = TraceContextTextMapPropagator()
_next_id: Final[ContextVar[int]] = ContextVar("span id", default=0)


class _Ids(RandomIdGenerator):
    """Random ids, but for a span whose id is known in another process already."""

    @override
    def generate_span_id(self) -> int:
        return _next_id.get() or super().generate_span_id()


class _OtelSpan:
    """A span of the SDK."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._over = False

    @property
    def traceparent(self) -> str:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(self._span, Context()))
        return carrier.get(tracing.HEADER, "")

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, **attributes: Value) -> None:
        self._span.set_attributes({name.replace("__", "."): value for name, value in attributes.items()})

    def fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(trace.StatusCode.ERROR)

    def end(self) -> None:
        if not self._over:
            self._over = True
            self._span.end()

    def drop(self) -> None:
        self._over = True  # what does not end is not exported


class OtelTracing:
    """The spans of one process."""

    on: bool = True

    def __init__(self, service: str, version: str, endpoint: str, headers: str, ratio: float) -> None:
        """`headers` are `name=value` pairs with commas between them, for the receiver below `endpoint`."""
        self._exporter = OTLPSpanExporter(
            endpoint=f"{endpoint.rstrip('/')}/v1/traces", headers=_pairs(headers), timeout=EXPORT_S
        )
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": service, "service.version": version}),
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            id_generator=_Ids(),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, max_queue_size=QUEUE_SPANS))
        self._tracer = self._provider.get_tracer("jelmore")

    @contextmanager
    def span(self, name: str, kind: Kind, attributes: Attributes, parent: str | None = None) -> Iterator[Span]:
        """Trace a block; see the protocol."""
        context = _context(CURRENT.get() if parent is None else parent)
        made = self._tracer.start_span(name, context, _KINDS[kind], _bounded(attributes))
        span = _OtelSpan(made)
        token = CURRENT.set(span.traceparent)
        try:
            yield span
        except Exception as error:  # a caller that leaves is no failure
            span.fail(type(error).__name__)  # its text may hold what nobody may read here
            raise
        finally:
            with suppress(ValueError):  # a generator that is closed in another context
                CURRENT.reset(token)
            span.end()

    def record(
        self, name: str, parent: str, span_id: str, times_s: tuple[float, float], attributes: Attributes
    ) -> None:
        """Trace what has happened elsewhere; see the protocol."""
        began, ended = (int(each * 1e9) for each in times_s)
        token = _next_id.set(int(span_id, 16))
        try:
            span = self._tracer.start_span(
                name, _context(parent), trace.SpanKind.INTERNAL, _bounded(attributes), start_time=began
            )
        finally:
            _next_id.reset(token)
        span.end(max(began, ended))

    def close(self, within_s: float) -> None:
        """Send what is left, in a thread that nobody waits for longer than this; then give up what it tries again."""
        ending = threading.Thread(target=self._provider.shutdown, name="end of tracing", daemon=True)
        ending.start()
        ending.join(within_s)
        if ending.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _context(parent: str) -> Context:
    return _propagator.extract({tracing.HEADER: parent}, Context()) if parent else Context()


def _bounded(attributes: Attributes) -> dict[str, Value]:
    return {
        name: value[:MAX_VALUE_CHARACTERS] if isinstance(value, str) else value for name, value in attributes.items()
    }


def _pairs(headers: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in headers.split(",") if pair.strip())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
