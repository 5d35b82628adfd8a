"""Spans of calls through the gateway, at a real receiver, and which of the trace's headers leave the installation."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jelmore_gateway.gateway import Gateway
from jelmore_gateway.settings import TraceSettings
from jelmore_gateway.state import State
from jelmore_protocol.otel import OtelTracing
from tests.integration.gateway.test_routes import other, route
from tests.integration.gateway.world import SESSION, World, script
from tests.support.trace_receiver import ReceivedSpan, Receiver, trace_receiver
from tests.support.waiting import until

pytestmark = pytest.mark.integration
TRACE, PARENT = "a" * 32, "b" * 16
SENT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=b", "baggage": "user=ann"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with trace_receiver() as found:
        yield found


@pytest.fixture
async def traced(world: World, receiver: Receiver) -> AsyncIterator[World]:
    """A gateway that traces."""
    await world.gateway.close()
    tracing = OtelTracing("gateway", "1", receiver.url, "", 1.0)
    world.state = State(world.settings.state_dir)
    world.gateway = Gateway(world.settings, world.state, world.deadlines, tracing)
    await world.gateway.open()
    yield world
    tracing.close(1)


async def spans(world: World, receiver: Receiver, count: int = 1) -> list[ReceivedSpan]:
    """Return the spans once so many have arrived: a call ends a little after its caller has the response."""

    def there() -> bool:
        world.gateway._calls._tracing._provider.force_flush(1000)  # type: ignore[attr-defined]
        return len(receiver.spans) >= count

    await until(there)
    return receiver.spans


async def test_a_call_of_the_model_is_a_span_below_the_turn_without_a_header_to_the_provider(
    traced: World, receiver: Receiver
) -> None:
    socket = await traced.register()
    async with traced.post(socket, headers=SENT, data=b'{"prompt": "private words"}') as response:
        assert response.status == 200
    assert not {name.lower() for name in traced.model.seen[-1]} & set(SENT)
    (span,) = await spans(traced, receiver)
    assert (span.name, span.trace_id, span.parent) == ("model /v1/messages", TRACE, PARENT)
    assert span.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "jelmore.session_id": SESSION,
        "jelmore.generation": 1,
        "gen_ai.response.model": "claude-x",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
    }
    for text in (b"private words", b"real-key"):
        assert not any(text in raw for raw in receiver.raw)


async def test_the_provider_gets_the_header_where_that_is_chosen(traced: World, receiver: Receiver) -> None:
    chosen = replace(traced.settings, traces=TraceSettings(model_api=True))
    traced.gateway._settings = chosen
    socket = await traced.register()
    async with traced.post(socket, headers=SENT) as response:
        assert response.status == 200
    seen = traced.model.seen[-1]
    (span,) = await spans(traced, receiver)
    assert seen["traceparent"] == f"00-{TRACE}-{span.span_id}-01"
    assert "tracestate" not in seen
    assert "baggage" not in seen


async def test_a_route_is_a_span_and_its_server_gets_no_header(traced: World, receiver: Receiver) -> None:
    socket = await traced.register()
    async with other() as server:
        await route(traced, server)
        async with traced.post(socket, "/mcp/docs?secret=1", headers=SENT) as response:
            assert response.status == 200
        assert not {name.lower() for name in server.seen[0]} & set(SENT)
        async with traced.post(socket, "/mcp/a-text-of-the-sandbox", headers={"traceparent": "00-1-1-01"}) as response:
            assert response.status == 404
    known, unknown = await spans(traced, receiver, 2)
    assert (known.name, known.parent, known.failed) == ("route mcp/docs", PARENT, False)
    assert (unknown.name, unknown.parent, unknown.failed) == ("route unknown", "", True)
    assert unknown.attributes["http.response.status_code"] == 404
    assert not any(b"a-text-of-the-sandbox" in raw or b"secret=1" in raw for raw in receiver.raw)


async def test_calls_that_fail_are_marked(traced: World, receiver: Receiver, folder: Path) -> None:
    socket = await traced.register()
    async with traced.post(socket, headers={**SENT, **script("drop")}) as response:
        assert response.status == 503
    (span,) = await spans(traced, receiver)
    assert (span.failed, span.attributes["error.type"]) == (True, "RefusedError")
    assert span.attributes["http.response.status_code"] == 503
