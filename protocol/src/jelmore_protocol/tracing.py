"""Traces: which span the present work belongs to, in the form of the W3C's Trace Context, and how spans are made.

`jelmore_protocol.otel` makes real spans; it is imported only where tracing is switched on. Spans carry names, ids,
counts and statuses, never a prompt, an answer, a header or a credential.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Final, Protocol

HEADER: Final = "traceparent"
CONTEXT_HEADERS: Final = frozenset({HEADER, "tracestate", "baggage"})
"""Headers that say which trace a request belongs to."""

_FORM: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")

CURRENT: Final[ContextVar[str]] = ContextVar("traceparent", default="")
"""The span of the present task as a `traceparent`, empty without one."""

type Value = str | int | float | bool
type Attributes = Mapping[str, Value]


class Kind(StrEnum):
    """Which side of a call a span is."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


def checked(text: str | None) -> str:
    """Return a `traceparent` of version 00 as it is; an empty text for anything else, which starts a new trace."""
    return text if text is not None and _FORM.fullmatch(text) else ""


def turn_span_id(parent: str, input_id: str) -> str:
    """Return the id of the span of an input's turn: 16 hex digits, the same in the sandbox and in the manager."""
    return hashlib.sha256(f"{parent} {input_id}".encode()).hexdigest()[:16]


def turn_context(parent: str, input_id: str) -> str:
    """Return the `traceparent` of an input's turn below that of the request that sent it; empty without one."""
    found = _FORM.fullmatch(parent)
    return "" if found is None else f"00-{found[1]}-{turn_span_id(parent, input_id)}-{found[3]}"


class Span(Protocol):
    """One piece of work."""

    @property
    def traceparent(self) -> str:
        """The span as the parent of others; empty when nothing is traced."""

    def name(self, name: str) -> None:
        """Give it another name."""

    def set(self, **attributes: Value) -> None:
        """Add attributes. A double underscore in a name stands for a dot."""

    def fail(self, kind: str) -> None:
        """Mark it as failed, with the kind of the failure."""

    def end(self) -> None:
        """End it now. May run twice."""

    def drop(self) -> None:
        """Export nothing of it."""


class Tracing(Protocol):
    """Makes spans. No call waits for the receiver of the spans, and none raises."""

    @property
    def on(self) -> bool:
        """Whether anything is traced."""

    @contextmanager
    def span(self, name: str, kind: Kind, attributes: Attributes, parent: str | None = None) -> Iterator[Span]:
        """Trace a block, below `parent` or else below the present span. An exception marks the span as failed."""

    def record(
        self, name: str, parent: str, span_id: str, times_s: tuple[float, float], attributes: Attributes
    ) -> None:
        """Trace what has happened elsewhere, from its beginning and end in seconds since 1970."""

    def close(self, within_s: float) -> None:
        """Send what is left, and return after this time in any case. May run twice."""


class NoSpan:
    """A span of nothing."""

    traceparent: str = ""

    def name(self, name: str) -> None:
        """Do nothing."""

    def set(self, **attributes: Value) -> None:
        """Do nothing."""

    def fail(self, kind: str) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def drop(self) -> None:
        """Do nothing."""


class NoTracing:
    """Traces nothing."""

    on: bool = False

    @contextmanager
    def span(
        self,
        name: str,  # noqa: ARG002 - as the protocol
        kind: Kind,  # noqa: ARG002
        attributes: Attributes,  # noqa: ARG002
        parent: str | None = None,  # noqa: ARG002
    ) -> Iterator[Span]:
        """Run the block."""
        yield NoSpan()

    def record(
        self, name: str, parent: str, span_id: str, times_s: tuple[float, float], attributes: Attributes
    ) -> None:
        """Do nothing."""

    def close(self, within_s: float) -> None:
        """Do nothing."""


def carried() -> dict[str, str]:
    """Return the header that names the present span to another process; none without a span."""
    present = CURRENT.get()
    return {HEADER: present} if present else {}


def make_tracing(service: str, version: str, endpoint: str, headers: str, ratio: float) -> Tracing:
    """Return what makes the spans of a process: real ones with an endpoint, none without. Call it after every fork."""
    if not endpoint:
        return NoTracing()
    from jelmore_protocol.otel import OtelTracing

    return OtelTracing(service, version, endpoint, headers, ratio)
