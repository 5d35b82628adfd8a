"""The calls on inputs that wait."""

from dataclasses import replace

import pytest

from jelmore.session.errors import (
    ConflictError,
    DependencyError,
    ForbiddenError,
    InvalidRequestError,
    TooLargeError,
    UnknownRequestError,
)
from jelmore.session.pending_inputs import MAX_PENDING_BYTES, PendingInput, handed_over
from jelmore.session.states import Presence, SessionStatus, WaitingFor
from jelmore_protocol.control import InputRequest
from jelmore_protocol.events import EventKind
from tests.support.records import line
from tests.unit.control.static_harness import StaticHarness
from tests.unit.control.world import ADMIN, READER


async def test_a_running_runner_is_asked() -> None:
    harness = StaticHarness()
    session, runner = await harness.session()
    runner.holds = True
    at = await harness.ports.control_of(session)
    for name in ("one", "two"):
        await harness.runners.input(at, InputRequest(id=name, input=f"do {name}"))
    assert [each.id for each in await harness.queue_calls.waiting(ADMIN, session.id)] == ["one", "two"]
    assert await harness.queue_calls.change(ADMIN, session.id, "two", "do it better") == runner.seq
    assert await harness.queue_calls.cancel(ADMIN, session.id, "one") == runner.seq
    assert [each.input for each in await harness.queue_calls.waiting(READER, session.id)] == ["do it better"]
    with pytest.raises(ConflictError):
        await harness.queue_calls.cancel(ADMIN, session.id, "one")
    with pytest.raises(ForbiddenError):
        await harness.queue_calls.cancel(READER, session.id, "two")
    with pytest.raises(InvalidRequestError):
        await harness.queue_calls.change(ADMIN, session.id, "two", " ")
    with pytest.raises(TooLargeError):
        await harness.queue_calls.change(ADMIN, session.id, "two", "x" * (1024 * 1024 + 1))


@pytest.mark.parametrize(("waits", "expected"), [(WaitingFor.BUDGET, ["1002"]), (WaitingFor.PROMPT, [])])
async def test_the_queue_of_a_sleeping_session_is_read_from_its_output(waits: WaitingFor, expected: list[str]) -> None:
    harness = StaticHarness()
    session, _ = await harness.session(status=SessionStatus.IDLE, presence=Presence.PAUSED, waiting_for=waits)
    inputs = [line(seq, {"id": str(seq), "input": "do it"}, EventKind.INPUT) for seq in range(1, 1003)]
    done = [line(1002 + seq, {"input_id": str(seq)}, EventKind.TURN_ENDED) for seq in range(1, 1002)]
    await harness.store.save(session, [], [*inputs, *done])
    assert [each.id for each in await harness.queue_calls.waiting(ADMIN, session.id)] == expected
    assert harness.queue.depth() == 0, "it was not woken"


async def test_the_queue_of_a_runner_that_is_stopping_is_read_from_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = StaticHarness()
    session, _ = await harness.session(status=SessionStatus.ACTIVE, waiting_for=None)
    await harness.store.save(session, [], [line(1, {"id": "one", "input": "do it"}, EventKind.INPUT)])

    async def refuse(*_: object) -> None:
        raise DependencyError("runner", "connection refused")

    monkeypatch.setattr(harness.runners, "queue", refuse)
    assert [each.id for each in await harness.queue_calls.waiting(ADMIN, session.id)] == ["one"]


async def test_a_list_of_large_inputs_is_bounded_in_bytes() -> None:
    harness = StaticHarness()
    session, _ = await harness.session(
        status=SessionStatus.IDLE, presence=Presence.PAUSED, waiting_for=WaitingFor.BUDGET
    )
    inputs = [line(seq, {"id": str(seq), "input": "x" * 900_000}, EventKind.INPUT) for seq in range(1, 41)]
    await harness.store.save(session, [], inputs)
    listed = await harness.queue_calls.waiting(ADMIN, session.id)
    assert [each.id for each in listed] == [str(seq) for seq in range(1, 41)]
    assert listed[0].input == "x" * 900_000
    assert listed[39].input.endswith("… [cut: 900000 characters]")
    assert sum(len(each.input) for each in listed) < 2_200_000


async def test_what_no_runner_has_is_changed_and_cancelled_in_the_record() -> None:
    harness = StaticHarness()
    pending = tuple(
        PendingInput(name, f"do {name}", "key_a", "2026-01-01T00:00:00+00:00", 0) for name in ("one", "two")
    )
    session, runner = await harness.session(status=SessionStatus.IDLE, pending_inputs=pending)
    listed = await harness.queue_calls.waiting(READER, session.id)
    assert [(each.id, each.input, each.by, each.seq) for each in listed] == [
        ("one", "do one", "key_a", 0),
        ("two", "do two", "key_a", 0),
    ]
    assert await harness.queue_calls.change(ADMIN, session.id, "two", "do it better") == 0
    assert await harness.queue_calls.cancel(ADMIN, session.id, "one") == 0
    noted = [each for each in harness.store.kept_events[session.id] if each.type == "session.changed"]
    assert [each.payload["fields"] for each in noted] == [["pending_inputs"]] * 2, "who follows the events sees both"
    kept = (await harness.store.load(session.id)).pending_inputs
    assert [(each.id, each.input) for each in kept] == [("two", "do it better")]
    with pytest.raises(TooLargeError, match="awake"):
        await harness.queue_calls.change(ADMIN, session.id, "two", "x" * MAX_PENDING_BYTES)
    session = await harness.store.load(session.id)
    await harness.store.save(replace(session, pending_inputs=handed_over(kept)), [])
    with pytest.raises(UnknownRequestError):  # from now on the runner decides
        await harness.queue_calls.cancel(ADMIN, session.id, "two")
    assert runner.journal == []


async def test_what_an_ended_session_could_not_deliver_can_be_cancelled() -> None:
    harness = StaticHarness()
    pending = (PendingInput("one", "go", "key_a", "2026-01-01T00:00:00+00:00", 0),)
    session, _ = await harness.session(status=SessionStatus.FAILED, waiting_for=None, pending_inputs=pending)
    assert [each.id for each in await harness.queue_calls.waiting(READER, session.id)] == ["one"]
    await harness.queue_calls.cancel(ADMIN, session.id, "one")
    assert (await harness.store.load(session.id)).pending_inputs == ()
