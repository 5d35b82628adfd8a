"""Frozen recordings of the wire: what an older or a newer side sends is read, whatever it adds.

`protocol_1.json` is what version 1 sent before readers became tolerant; it never changes. `protocol_2.json` is an
imagined next version: more fields, event kinds, enum values and frame types.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel

from jelmore.control.observer import runner_view
from jelmore.control.runner_init import RunnerKeys, init_of
from jelmore.drivers.relay_inbox import Inbox, read_frame
from jelmore.session.output import Output
from jelmore.session.record import Spec
from jelmore_protocol import ProtocolError, control, frames, negotiated
from jelmore_protocol.events import Event, EventKind, Pending
from jelmore_protocol.frames import BadFrameError, decode_client_frame
from tests.support.records import new_session

_FOLDER: Final = Path(__file__).parents[2] / "recordings"
RECORDINGS: Final[dict[str, Any]] = {
    name: json.loads((_FOLDER / f"{name}.json").read_text()) for name in ("protocol_1", "protocol_2")
}
SERVER_FRAMES: Final[dict[str, type[BaseModel]]] = {
    "hello": frames.HelloFrame,
    "delta": frames.DeltaFrame,
    "state": frames.StateFrame,
    "ack": frames.AckFrame,
    "error": frames.ErrorFrame,
    "pong": frames.PongFrame,
}

RENAMED: Final = {"Quiet": "Draining"}
"""Names of messages in the recordings that their classes had before."""

recordings = pytest.mark.parametrize("recording", RECORDINGS.values(), ids=RECORDINGS)


@recordings
def test_control_messages_are_read(recording: dict[str, Any]) -> None:
    for part in ("control_requests", "control_answers"):
        for name, body in recording[part].items():
            getattr(control, RENAMED.get(name, name)).model_validate_json(json.dumps(body))


def test_todays_recording_is_read_without_loss() -> None:
    for part in ("control_requests", "control_answers"):
        for name, body in RECORDINGS["protocol_1"][part].items():
            read = getattr(control, RENAMED.get(name, name)).model_validate_json(json.dumps(body))
            again = read.model_dump(mode="json", exclude_unset=True)
            assert again == body, name


@recordings
def test_all_events_are_read(recording: dict[str, Any]) -> None:
    for body in recording["events"]:
        assert Event.model_validate_json(json.dumps(body)).data == body["data"]


def test_no_kind_of_version_1_is_gone() -> None:
    assert {body["kind"] for body in RECORDINGS["protocol_1"]["events"]} <= {str(kind) for kind in EventKind}


@recordings
def test_a_relay_stores_every_event_and_goes_on(recording: dict[str, Any]) -> None:
    hello = recording["server_frames"][0]
    inbox = Inbox(0, hello["session_id"])
    stored = []
    for body in [hello, *recording["events"], *recording["server_frames"][2:]]:
        item = read_frame(json.dumps(body, separators=(",", ":")), inbox)
        if isinstance(item, Output):
            stored.append((item.kind, item.data))
    assert stored == [(body["kind"], body["data"]) for body in recording["events"]]


@recordings
def test_server_frames_are_read_and_unknown_types_can_be_skipped(recording: dict[str, Any]) -> None:
    for body in recording["server_frames"]:
        if body["type"] in SERVER_FRAMES:
            SERVER_FRAMES[body["type"]].model_validate_json(json.dumps(body))


@recordings
def test_client_frames_are_read(recording: dict[str, Any]) -> None:
    for body in recording["client_frames"]:
        assert decode_client_frame(json.dumps(body)).type == body["type"]


def test_an_unknown_client_frame_is_refused_by_name() -> None:
    with pytest.raises(BadFrameError, match="teleport"):
        decode_client_frame('{"type":"teleport"}')


def test_unknown_values_of_a_newer_runner_count_as_work() -> None:
    body = json.dumps(RECORDINGS["protocol_2"]["control_answers"]["Health"])
    health = control.Health.model_validate_json(body)
    assert runner_view(health).working, "a state nobody knows is neither paused nor ended as idle"
    assert [type(pending) for pending in health.pending] == [Pending, Pending]


def unknown_to(recorded: Any, sent: Any, place: str = "") -> list[str]:
    """Return the fields of a message that a recorded one lacks, at all levels. Free JSON counts as known."""
    if not isinstance(sent, dict) or not isinstance(recorded, dict) or place.endswith("mcp_servers"):
        return []
    new = [f"{place}.{name}" for name in sent if name not in recorded]
    return new + [each for name in sent for each in unknown_to(recorded.get(name), sent[name], f"{place}.{name}")]


def test_a_runner_that_knows_no_later_field_can_begin_a_session_of_todays_manager() -> None:
    session = new_session(generation=2, spec=Spec(query="hello", model="m", mcp_servers={"x": {"command": "y"}}))
    init = init_of(session, 1, RunnerKeys("PEM", "token"), None, strict=True)
    sent = json.loads(init.model_dump_json(exclude_unset=True))
    assert unknown_to(RECORDINGS["protocol_1"]["control_requests"]["Init"], sent) == []
    later = json.loads(init_of(session, 1, RunnerKeys("PEM", "token"), None).model_dump_json(exclude_unset=True))
    assert later["options"]["setting_sources"] == ["project"]


def test_a_new_field_that_nobody_set_is_not_sent_to_an_older_runner() -> None:
    fields = RECORDINGS["protocol_1"]["control_requests"]["Init"]
    init = control.Init.model_validate(fields)
    assert set(json.loads(init.model_dump_json(exclude_unset=True))) <= set(fields)


@pytest.mark.parametrize(
    ("peer", "own", "expected"),
    [
        ((1, None), (1, 1), 1),  # both of today
        ((1, None), (2, 1), 1),  # an older peer that names no range
        ((2, 1), (1, 1), 1),
        ((2, 1), (2, 1), 2),
        ((3, 2), (2, 1), 2),
    ],
)
def test_neighbours_find_a_common_version(peer: tuple[int, int | None], own: tuple[int, int], expected: int) -> None:
    assert negotiated(*peer, own_newest=own[0], own_oldest=own[1]) == expected


@pytest.mark.parametrize(("peer", "own"), [((3, 2), (1, 1)), ((1, None), (3, 2)), ((99, None), (1, 1))])
def test_strangers_are_refused_with_both_ranges(peer: tuple[int, int | None], own: tuple[int, int]) -> None:
    with pytest.raises(ProtocolError, match=r"this side speaks protocol \d+ to \d+"):
        negotiated(*peer, own_newest=own[0], own_oldest=own[1])
