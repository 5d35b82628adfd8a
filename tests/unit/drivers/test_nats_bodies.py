"""What a published event says."""

import json
from dataclasses import replace
from uuid import UUID

from jelmore.drivers.nats_bodies import body, message_id, subject
from jelmore.ports import StoredEvent
from tests.support.records import MOMENT

SESSION = UUID("01920000-0000-7000-8000-000000000001")


def event(**payload: object) -> StoredEvent:
    return StoredEvent(SESSION, 7, "session.state_changed", MOMENT, payload, 12, 3)


def test_the_body_has_the_older_names_and_the_attributes_of_cloudevents() -> None:
    assert json.loads(body(event(to="idle"), "main", 10_000)) == {
        "event_id": f"{SESSION}:7",
        "event_type": "session.state_changed",
        "session_id": str(SESSION),
        "timestamp": "2026-01-02T03:04:05.678Z",
        "payload": {"to": "idle"},
        "seq": 7,
        "version": 3,
        "output_seq": 12,
        "specversion": "1.0",
        "id": f"{SESSION}:7",
        "source": "/jelmore/main",
        "type": "session.state_changed",
        "subject": str(SESSION),
        "time": "2026-01-02T03:04:05.678Z",
        "datacontenttype": "application/json",
    }


def test_an_event_that_is_published_again_is_new_to_nats_and_the_same_to_consumers() -> None:
    again = replace(event(to="idle"), again="r1")
    assert message_id(again) != message_id(event())
    assert body(again, "main", 10_000) == body(event(to="idle"), "main", 10_000)


def test_the_subject_has_no_more_parts_than_a_filter_expects() -> None:
    assert subject(event()) == f"jelmore.v1.session.{SESSION}.session_state_changed"
    of_system = StoredEvent(UUID(int=0), 1, "system.cleanup", MOMENT, {}, None, 0)
    assert subject(of_system) == "jelmore.v1.system.system_cleanup"
    assert message_id(of_system) == "00000000-0000-0000-0000-000000000000:1"


def test_a_payload_that_does_not_fit_is_left_out_and_says_so() -> None:
    small = json.loads(body(event(text="x" * 5000), "main", 1000))
    assert small["payload"] == {"omitted": True, "bytes": len('{"text":""}') + 5000}
    assert small["seq"] == 7
