"""Records and worlds to decide on, and the decision at a moment."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from jelmore.session.acts import RecordFact, Step
from jelmore.session.record import Session, Spec, Timing
from jelmore.session.states import Fact, Presence, SessionStatus, WaitingFor
from jelmore.session.steps import Policy, next_step
from jelmore.session.world import Route, Runner, RunnerPhase, Sandbox, SandboxState, World
from tests.support.records import MOMENT, new_session

POLICY = Policy()


RUNNING = Sandbox(1, SandboxState.RUNNING, "c")


READY = Runner(RunnerPhase.READY, 1, 5, waiting_for=WaitingFor.PROMPT)


SERVED = World(RUNNING, READY, Route.RUNNER, attached=True)


FROZEN = World(Sandbox(1, SandboxState.PAUSED, "c"), None, Route.MANAGER)


GONE = World(None, None, Route.MANAGER)


def waiting(timing: Timing | None = None, **changes: Any) -> Session:
    """A session that waits for a prompt since MOMENT."""
    plain: dict[str, Any] = {
        "status": SessionStatus.WAITING_INPUT,
        "waiting_for": WaitingFor.PROMPT,
        "container_id": "c",
        "output_seq": 5,
        "spec": Spec(timing=timing or Timing()),
    }
    return replace(new_session(), **{**plain, **changes})


def idle(presence: Presence, timing: Timing | None = None, **changes: Any) -> Session:
    return waiting(timing, status=SessionStatus.IDLE, presence=presence, **changes)


def step(session: Session, world: World, after_s: float, policy: Policy = POLICY) -> Step:
    return next_step(session, world, MOMENT + timedelta(seconds=after_s), policy)


def fact(made: Step) -> Fact:
    assert isinstance(made, RecordFact), made
    return made.fact
