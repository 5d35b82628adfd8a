"""The schema of events says what is published: every event that the code can make validates against it."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]  # it has no types

from jelmore.drivers.event_schema import PAYLOADS, event_schema
from jelmore.drivers.nats_bodies import body
from jelmore.drivers.nats_events import DEAD_LETTERS, STREAM
from jelmore.ports import StoredEvent
from jelmore.session.events import EventDraft, EventType
from jelmore.session.output_effects import read
from jelmore.session.record import Detail, Failure
from jelmore.session.resources import Measurement, Resources, judge
from jelmore.session.states import MOVES, Fact, SessionStatus
from jelmore_protocol.events import EventKind
from tests.support.records import MOMENT, line, new_id, new_session

RESULT: dict[str, Any] = {"type": "result", "subtype": "success", "result": "ok", "usage": {"input_tokens": 1}}
SAID: tuple[tuple[EventKind, dict[str, Any]], ...] = (
    (EventKind.INPUT, {"id": "i", "input": "x", "by": "me"}),
    (EventKind.MESSAGE, {"input_id": "i", "message": RESULT}),
    (EventKind.MESSAGE, {"input_id": "i", "message": {**RESULT, "subtype": "error_max_turns", "is_error": True}}),
    (EventKind.INTERRUPTED, {"input_id": "i", "input_seq": 1, "cause": "restart"}),
    (EventKind.DIRECTORY_CHANGED, {"from": "/a", "to": "/b"}),
    (EventKind.FILE_MODIFIED, {"path": "p", "op": "created", "source": "tool"}),
    (EventKind.GIT_ACTIVITY, {"op": "commit", "branch": "trunk", "head": None, "repository": "."}),
    (EventKind.ERROR, {"code": "c", "message": "m"}),
    (EventKind.REWOUND, {"to_seq": 1, "input_id": "i", "files": True, "conversation": True, "by": "me"}),
    (EventKind.STATE, {"state": "waiting_input", "waiting_for": "budget", "input_id": None}),
)


def drafts() -> Iterator[EventDraft]:
    """Return the events of moves, output and measurements."""
    detail = Detail(reason="because", container_id="c", failure=Failure("running", "it broke", 3))
    for status, fact in itertools.product(SessionStatus, Fact):
        if (status, fact) in MOVES:
            yield from replace(new_session(), status=status).after(fact, MOMENT, detail)[1]
    for kind, data in SAID:
        yield from read(replace(new_session(), status=SessionStatus.ACTIVE), [line(1, data, kind)])[1]
    yield from judge(Resources(), Measurement(pids=99, pids_limit=100), MOMENT)[1]


def published(draft: EventDraft, most_bytes: int = 100_000) -> dict[str, Any]:
    event = StoredEvent(new_id(), 1, draft.type, MOMENT, draft.payload, draft.output_seq, 1)
    found: dict[str, Any] = json.loads(body(event, "main", most_bytes))
    return found


def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(event_schema())
    return Draft202012Validator(event_schema())


def test_what_is_published_is_what_the_schema_says() -> None:
    check, seen = validator(), set()
    for draft in drafts():
        found = published(draft)
        check.validate(found)
        assert set(found) == set(event_schema()["required"])
        seen.add(draft.type)
    made_elsewhere = {
        EventType.SESSION_CREATED,
        EventType.SESSION_CHANGED,
        EventType.SESSION_FORKED,
        EventType.SYSTEM_TIMEOUT_WARNING,
        EventType.SYSTEM_CLEANUP,
        EventType.SYSTEM_SESSION_ERASED,
        EventType.SESSION_READ,
        EventType.EGRESS_REFUSED,
        EventType.MCP_CALLED,
        EventType.CREDENTIAL_FAILED,
        EventType.COMMENT_POSTED,
        EventType.PARTICIPANT_JOINED,
        EventType.PARTICIPANT_LEFT,
    }
    assert seen == set(EventType) - made_elsewhere
    assert set(PAYLOADS) == set(EventType)


def test_a_payload_that_did_not_fit_is_an_event_too() -> None:
    large = EventDraft(EventType.COMMAND_SENT, {"input_id": "i", "input": "x" * 5000})
    validator().validate(published(large, 1000))


@pytest.mark.parametrize(
    "change",
    [
        {"event_type": "session.vanished"},
        {"payload": {"from": "idle"}},
        {"payload": []},
        {"seq": 0},
        {"timestamp": "2026-01-02T03:04:05+01:00"},
    ],
)
def test_the_schema_refuses_what_is_not_an_event(change: dict[str, Any]) -> None:
    good = published(EventDraft(EventType.SESSION_STATE_CHANGED, {"from": "a", "to": "b", "reason": "c"}))
    validator().validate(good)
    with pytest.raises(ValidationError):
        validator().validate({**good, **change})


def test_the_page_on_events_names_the_streams_and_where_the_servers_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
    for word in (STREAM, DEAD_LETTERS, "nats/nats.json", "nats:4222", "NATS_PASSWORD", "max_deliver"):
        assert f"`{word}`" in page, word
