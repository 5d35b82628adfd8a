"""Single decisions: a session that starts in a sandbox of the warm pool, and what becomes of it when that has ended."""

from dataclasses import replace
from typing import Any

import pytest

from jelmore.session.acts import Act, RecordFact, Wait
from jelmore.session.events import EventType
from jelmore.session.record import Detail, Session, started_stage
from jelmore.session.states import Fact, SessionStatus
from jelmore.session.warm_start import WarmStart
from jelmore.session.world import AgentAhead, Route, Runner, RunnerPhase, Sandbox, SandboxState, World
from tests.support.records import MOMENT, new_session
from tests.unit.session.deciding import POLICY, RUNNING, fact, step


def claimed(**changes: Any) -> Session:
    """A session that claimed a member of the warm pool at MOMENT."""
    return new_session(warm_start=WarmStart.RUNNER, **changes)


LOST_MEMBER = RecordFact(Fact.CONTAINER_LOST, Detail(reason="warm_sandbox_lost"))


def test_a_member_that_has_ended_costs_a_start_and_not_the_session() -> None:
    ended = Sandbox(1, SandboxState.EXITED, "c", exit_code=137)
    stopped = Runner(RunnerPhase.ENDED, 1, 0, stopping=True)
    for world in (World(None), World(ended), World(RUNNING, stopped)):
        assert step(claimed(), world, 0) == LOST_MEMBER, world
        cold = replace(claimed(), warm_start=WarmStart.NONE)
        assert step(cold, world, 0) != LOST_MEMBER
    assert step(claimed(), World(RUNNING), POLICY.member_timeout_s) == Wait(0.5)
    assert step(claimed(), World(RUNNING), POLICY.member_timeout_s + 1) == LOST_MEMBER


def test_a_session_whose_member_was_lost_starts_once_more_and_is_announced_once() -> None:
    lost, events = claimed().after(Fact.CONTAINER_LOST, MOMENT, LOST_MEMBER.detail)
    assert (lost.warm_start, lost.generation, lost.restarts, events) == (WarmStart.LOST, 2, 0, [])
    assert step(lost, World(replace(RUNNING, state=SandboxState.EXITED)), 1) is Act.REMOVE
    assert step(lost, World(None), 1) is Act.START
    _, events = lost.after(Fact.READY, MOMENT, Detail(container_id="d"))
    assert EventType.SESSION_STARTED in {each.type for each in events}
    again = Sandbox(2, SandboxState.EXITED, "d", exit_code=1)
    assert fact(step(lost, World(again), 1)) is Fact.FAILED, "the second sandbox was its own"


def test_a_resumed_session_does_not_count_as_starting_in_a_member() -> None:
    failed, _ = claimed().after(Fact.FAILED, MOMENT)
    resumed, _ = failed.after(Fact.RESUMED, MOMENT)
    assert fact(step(resumed, World(Sandbox(2, SandboxState.EXITED, "d")), 1)) is Fact.FAILED


@pytest.mark.parametrize("ahead", [None, *AgentAhead])
@pytest.mark.parametrize("before", [WarmStart.NONE, WarmStart.RUNNER])
def test_a_session_is_connected_when_it_got_a_member_and_its_agent(before: WarmStart, ahead: AgentAhead | None) -> None:
    runner = Runner(RunnerPhase.READY, 1, 0, agent_ahead=ahead)
    session = new_session(warm_start=before)
    decided = step(session, World(RUNNING, runner, route=Route.RUNNER, attached=True), 0)
    assert isinstance(decided, RecordFact)
    started, events = session.after(decided.fact, MOMENT, decided.detail)
    connected = before is WarmStart.RUNNER and ahead is AgentAhead.USED
    assert started.warm_start is (WarmStart.CONNECTED if connected else before)
    assert started_stage(started, events) is (None if before is WarmStart.NONE else started.warm_start)
    assert started_stage(started, []) is None


def test_a_session_that_served_stays_connected_after_a_loss() -> None:
    session = new_session(warm_start=WarmStart.CONNECTED, status=SessionStatus.ACTIVE, container_id="c")
    lost, _ = session.after(Fact.CONTAINER_LOST, MOMENT, Detail(reason="gone"))
    again, _ = lost.after(Fact.CONTAINER_REPLACED, MOMENT, Detail(container_id="d"))
    assert (again.warm_start, again.generation, again.first_generation) == (WarmStart.CONNECTED, 2, 1)
