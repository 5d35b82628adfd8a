"""Which trace work belongs to, and an exporter that costs nothing when it is off or its receiver hangs."""

import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from jelmore_protocol.otel import QUEUE_SPANS, OtelTracing
from jelmore_protocol.tracing import (
    CURRENT,
    Kind,
    NoTracing,
    carried,
    checked,
    make_tracing,
    turn_context,
    turn_span_id,
)
from tests.support.trace_receiver import trace_receiver

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00-1-1-01",
        PARENT.upper(),
        PARENT + "-x",
        PARENT + "\n",
        f"01{PARENT[2:]}",
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        "x" * 100_000,
    ],
)
def test_what_is_no_traceparent_starts_a_new_trace(text: str | None) -> None:
    assert checked(text) == ""
    assert turn_context(text or "", "input") == ""


def test_a_turn_has_the_same_span_wherever_it_is_asked() -> None:
    assert checked(PARENT) == PARENT
    assert turn_context(PARENT, "one") == f"00-{'a' * 32}-{turn_span_id(PARENT, 'one')}-01"
    assert turn_context(PARENT, "two") != turn_context(PARENT, "one")
    assert checked(turn_context(PARENT, "one"))


def test_spans_are_nested_and_carried() -> None:
    with trace_receiver() as receiver:
        tracing = make_tracing("test", "1", receiver.url, "x-key=v=1, other = b", 1.0)
        with tracing.span("outer", Kind.SERVER, {"long": "x" * 1000}, PARENT) as outer:
            assert carried() == {"traceparent": outer.traceparent}
            with suppress(ValueError), tracing.span("inner", Kind.CLIENT, {}) as inner:
                inner.set(a__b=1)
                raise ValueError("secret")
            with tracing.span("dropped", Kind.CLIENT, {}) as dropped:
                dropped.drop()
        assert CURRENT.get() == ""
        tracing.record("turn", PARENT, "c" * 16, (1.5, 2.5), {})
        tracing.close(10)
    outer_span, inner_span, turn = (receiver.named(name)[0] for name in ("outer", "inner", "turn"))
    assert (outer_span.trace_id, outer_span.parent) == ("a" * 32, "b" * 16)
    assert (inner_span.parent, inner_span.failed) == (outer_span.span_id, True)
    assert inner_span.attributes == {"a.b": 1, "error.type": "ValueError"}
    assert len(outer_span.attributes["long"]) == 256
    assert (turn.span_id, turn.parent, turn.began_ns, turn.ended_ns) == (
        "c" * 16,
        "b" * 16,
        1_500_000_000,
        2_500_000_000,
    )
    assert receiver.named("dropped") == []
    assert not any(b"secret" in raw for raw in receiver.raw)
    assert (receiver.headers[0]["x-key"], receiver.headers[0]["other"]) == ("v=1", "b")


def test_the_ratio_counts_for_new_traces_and_the_callers_choice_for_others() -> None:
    with trace_receiver() as receiver:
        tracing = OtelTracing("test", "1", receiver.url, "", 0.0)
        with tracing.span("new", Kind.SERVER, {}, ""):
            pass
        with tracing.span("wanted", Kind.SERVER, {}, PARENT):
            pass
        with tracing.span("unwanted", Kind.SERVER, {}, PARENT[:-1] + "0") as span:
            assert span.traceparent.endswith("-00")
        tracing.close(10)
    assert [each.name for each in receiver.spans] == ["wanted"]


def test_a_receiver_that_hangs_costs_spans_and_nothing_else() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as hanging:  # accepts connections, and answers none
        tracing = OtelTracing("test", "1", f"http://127.0.0.1:{hanging.getsockname()[1]}", "", 1.0)
        began = time.monotonic()
        for _ in range(QUEUE_SPANS * 3):
            with tracing.span("work", Kind.INTERNAL, {}):
                pass
        assert time.monotonic() - began < 5
        began = time.monotonic()
        tracing.close(0.5)
        tracing.close(0.5)
        assert time.monotonic() - began < 3
    assert [each for each in threading.enumerate() if each.name.startswith("Otel")], "it still waits for an answer"
    for each in threading.enumerate():
        if each.name.startswith("Otel"):
            each.join(20)
            assert not each.is_alive(), "without one, it does not try again"


def test_nothing_is_imported_or_traced_without_a_receiver() -> None:
    tracing = make_tracing("test", "1", "", "", 1.0)
    assert isinstance(tracing, NoTracing)
    with tracing.span("work", Kind.SERVER, {}, PARENT) as span:
        assert (span.traceparent, carried()) == ("", {})
    program = "import sys, jelmore.bootstrap, jelmore_gateway.__main__, jelmore.settings; "
    program += "jelmore.bootstrap.make_app(jelmore.settings.Settings(_env_file=None)); "
    program += "print({'opentelemetry.sdk.trace', 'opentelemetry.exporter', 'google.protobuf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
