"""What a manager reports of a turn, from what a sandbox says of it: a sandbox may be hostile."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from jelmore.control.traces import MAX_STARTING, Traces
from jelmore.session.output import Output
from jelmore_protocol.tracing import CURRENT, NoTracing, turn_span_id

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"
AT = datetime(2026, 1, 1, tzinfo=UTC)


class Recorded(NoTracing):
    """Keeps what is reported."""

    on = True

    def __init__(self) -> None:
        self.turns: list[tuple[Any, ...]] = []

    def record(self, *turn: Any) -> None:
        self.turns.append(turn)


def ended(kind: str = "turn_ended", **data: Any) -> Output:
    given = {"input_id": "i", "trace": {"parent": PARENT, "started_at": AT.timestamp() - 2}, **data}
    return Output(1, kind, AT, json.dumps({"seq": 1, "kind": kind, "at": AT.isoformat(), "data": given}))


@pytest.mark.parametrize(
    ("output", "outcome"),
    [
        (ended(outcome="completed"), "completed"),
        (ended(outcome="failed"), "failed"),
        (ended("interrupted"), "interrupted"),
        (ended(outcome="a text of the sandbox"), "completed"),
    ],
)
def test_a_turn_is_reported_with_its_times(output: Output, outcome: str) -> None:
    recorded, session_id = Recorded(), uuid4()
    Traces(recorded).turns(session_id, [output])
    attributes = {"jelmore.session_id": str(session_id), "jelmore.outcome": outcome}
    times = AT.timestamp() - 2, AT.timestamp()
    assert recorded.turns == [("turn", PARENT, turn_span_id(PARENT, "i"), times, attributes)]


@pytest.mark.parametrize(
    "data",
    [
        {"trace": None},
        {"trace": PARENT},
        {"trace": {}},
        {"trace": {"parent": "00-1-1-01", "started_at": 1.0}},
        {"trace": {"parent": PARENT, "started_at": "1"}},
        {"trace": {"parent": PARENT, "started_at": AT.timestamp() + 1}},
        {"trace": {"parent": PARENT, "started_at": float("nan")}},
        {"trace": {"parent": PARENT, "started_at": -1e300}},
        {"input_id": None},
        {"input_id": {"a": 1}},
    ],
)
def test_what_a_hostile_sandbox_says_is_left_out(data: dict[str, Any]) -> None:
    recorded = Recorded()
    Traces(recorded).turns(uuid4(), [ended(**data), Output(2, "turn_ended", AT, "{"), ended("message")])
    assert recorded.turns == []


def test_starts_are_remembered_up_to_a_bound_and_forgotten_after_the_last_step() -> None:
    traces, ids = Traces(Recorded()), [UUID(int=number) for number in range(MAX_STARTING + 1)]
    traces.starts(ids[0])
    assert not traces._starting, "outside of a span there is nothing to remember"
    token = CURRENT.set(PARENT)
    for session_id in ids:
        traces.starts(session_id)
    CURRENT.reset(token)
    assert ids[0] not in traces._starting
    assert len(traces._starting) == MAX_STARTING
    with pytest.raises(OSError, match="away"), traces.step(ids[1], "initialize runner", last=True):
        raise OSError("away")
    assert ids[1] in traces._starting, "it is tried again"
    with traces.step(ids[1], "initialize runner", last=True):
        pass
    assert ids[1] not in traces._starting


def test_a_start_that_another_manager_completed_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    traces, session_id = Traces(Recorded()), uuid4()
    token = CURRENT.set(PARENT)
    traces.starts(session_id)
    CURRENT.reset(token)
    monkeypatch.setattr("jelmore.control.traces.LONGEST_START_S", -1)
    with traces.step(session_id, "start sandbox"):
        pass
    assert not traces._starting
