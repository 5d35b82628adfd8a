"""Which events the gateway's records lead to, and that an agent in a loop makes few of them."""

from datetime import timedelta
from typing import Any

from jelmore.control.gateway_events import MAX_PER_SESSION, ModelRefusals, events_of
from jelmore.drivers.event_schema import PAYLOADS
from jelmore.session.events import EventType
from jelmore_protocol.gateway import CallRecord
from tests.support.records import MOMENT

REFUSED: dict[str, Any] = {"route": "egress", "status": 403, "method": "evil.example:443", "tool": "host_not_allowed"}


def record(seq: int, session: str = "a", **more: Any) -> CallRecord:
    return CallRecord(seq=seq, session_id=session, generation=1, at=MOMENT, **{"status": 200, **more})


def test_a_refusal_names_host_port_and_reason() -> None:
    (event,) = events_of([record(7, **REFUSED, host="evil.example", port=443, unreported=3)])
    assert (event.call_seq, event.type) == (7, EventType.EGRESS_REFUSED)
    assert event.payload == {
        "host": "evil.example",
        "port": 443,
        "reason": "host_not_allowed",
        "unreported": 3,
        "at": MOMENT.isoformat(),
    }
    (unread,) = events_of([record(8, **REFUSED)])
    assert (unread.payload["host"], unread.payload["port"]) == (None, None)
    assert set(PAYLOADS[EventType.EGRESS_REFUSED]) <= set(unread.payload)


def test_a_call_of_an_mcp_server_names_method_and_tool_and_the_model_is_no_event() -> None:
    (event,) = events_of([record(1, model="m"), record(2, route="mcp/docs", method="tools/call", tool="search")])
    assert event.type is EventType.MCP_CALLED
    assert (event.payload["route"], event.payload["method"], event.payload["tool"]) == (
        "mcp/docs",
        "tools/call",
        "search",
    )
    assert set(PAYLOADS[EventType.MCP_CALLED]) <= set(event.payload)


def test_a_credential_that_gives_no_token_names_its_route_and_the_reason() -> None:
    (event,) = events_of([record(3, route="credential", method="mcp/docs", tool="invalid_grant", unreported=2)])
    assert event.type is EventType.CREDENTIAL_FAILED
    assert event.payload == {
        "route": "mcp/docs",
        "reason": "invalid_grant",
        "unreported": 2,
        "at": MOMENT.isoformat(),
    }


def test_a_session_that_floods_is_cut_short_and_its_neighbour_is_not() -> None:
    many = [record(seq, route="mcp/docs", method="ping") for seq in range(1, 501)]
    events = events_of([*many, record(501, "b", **REFUSED)])
    assert len(events) == MAX_PER_SESSION + 1
    assert events[-2].payload["unreported"] == 500 - MAX_PER_SESSION
    assert [event.call_seq for event in events] == sorted(event.call_seq for event in events)


def test_a_model_that_refuses_is_reported_once_a_period_for_each_session() -> None:
    refusals = ModelRefusals()
    times = [(1, "a", 0), (2, "a", 30), (3, "b", 60), (4, "a", 599), (5, "a", 601)]
    calls = [
        CallRecord(seq=seq, session_id=name, generation=1, at=MOMENT + timedelta(seconds=after), status=429, model="m")
        for seq, name, after in times
    ]
    fine = record(9, status=200)
    events = refusals.events_of([*calls[:3], fine])
    assert refusals.events_of([*calls[:3], fine]) == events, "they could not be stored: the page is read again"
    refusals.stored()
    events += refusals.events_of(calls[3:])
    assert [event.call_seq for event in events] == [1, 3, 5]
    assert set(PAYLOADS[EventType.SYSTEM_RESOURCE_WARNING]) <= set(events[0].payload)
    assert events[0].payload["resource"] == "model"
