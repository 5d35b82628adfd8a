"""What the warm pool decides: every member in every world, and how many there should be."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from jelmore.session.pool import (
    MAX_REMOVALS,
    Decision,
    Member,
    MemberAct,
    MemberState,
    Memory,
    Plan,
    Rules,
    Seen,
    Shape,
    Situation,
    make_plan,
)
from jelmore.session.world import AgentAhead, Runner, RunnerPhase, Sandbox, SandboxState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHAPE = Shape("image", 1024, 1.0, 128)
RULES = Rules(size=2, max_age_s=100, start_timeout_s=60)
CALM = Situation(SHAPE, free_slots=9, starting_sessions=0)
UP = Seen(Sandbox(1, SandboxState.RUNNING, "c"), Runner(RunnerPhase.DORMANT, 0, 0))


def ahead(state: AgentAhead | None) -> Seen:
    return Seen(UP.sandbox, Runner(RunnerPhase.DORMANT, 0, 0, agent_ahead=state))


@pytest.mark.parametrize("state", [None, *AgentAhead])
def test_a_member_waits_for_its_agent_but_not_for_ever(state: AgentAhead | None) -> None:
    for age_s, rules, waits in ((1, RULES, True), (31, RULES, False), (1, replace(RULES, connect=False), False)):
        acted = acts(plan(member(1, MemberState.STARTING, age_s), seen=ahead(state), rules=replace(rules, size=1)))
        waits_here = waits and state is AgentAhead.STARTING
        assert acted == ({} if waits_here else {1: MemberAct.OFFER}), (state, age_s)


@pytest.mark.parametrize("state", [None, *AgentAhead])
def test_an_agent_that_has_died_costs_no_member(state: AgentAhead | None) -> None:
    assert plan(member(1), seen=ahead(state), rules=replace(RULES, size=1)).decisions == ()


def member(number: int, state: MemberState = MemberState.READY, age_s: float = 1, **more: Any) -> Member:
    return Member(UUID(int=number), state, more.get("shape", SHAPE), NOW - timedelta(seconds=age_s))


def plan(*members: Member, seen: Seen = UP, situation: Situation = CALM, rules: Rules = RULES) -> Plan:
    return make_plan(members, {each.id: seen for each in members}, situation, NOW, rules)


def acts(made: Plan) -> dict[int, MemberAct]:
    return {each.member.id.int: each.act for each in made.decisions}


def one(made: Plan) -> Decision:
    [decision] = made.decisions
    return decision


def test_an_empty_pool_fills_one_by_one_up_to_its_size() -> None:
    assert plan().add == (SHAPE,)
    starting = member(1, MemberState.STARTING)
    assert plan(starting, seen=Seen(Sandbox(1, SandboxState.RUNNING, "c"))).add == ()
    assert plan(member(1)).add == (SHAPE,)
    assert plan(member(1), member(2)) == Plan((), (), 2)
    assert plan(rules=replace(RULES, size=5, starts_at_once=2)).add == (SHAPE, SHAPE)
    assert plan(rules=replace(RULES, size=0)).add == ()


WORLDS = [
    Seen(sandbox, runner, silent_s)
    for sandbox, runner, silent_s in itertools.product(
        [None, *(Sandbox(generation, state, "c", exit_code=7) for generation in (1, 2) for state in SandboxState)],
        [None, *(Runner(phase, 1, 0) for phase in RunnerPhase)],
        (0, 5),
    )
    if runner is None or (sandbox is not None and sandbox.state is SandboxState.RUNNING)
]


@pytest.mark.parametrize("state", MemberState)
@pytest.mark.parametrize("age_s", [1, 61, 101])
def test_every_member_in_every_world(state: MemberState, age_s: float) -> None:
    for seen in WORLDS:
        made = plan(member(1, state, age_s), seen=seen, rules=replace(RULES, size=1))
        act = acts(made).get(1)
        sandbox, runner = seen.sandbox, seen.runner
        running = sandbox is not None and sandbox.state is SandboxState.RUNNING and sandbox.generation == 1
        dormant = running and runner is not None and runner.phase is RunnerPhase.DORMANT
        if state is MemberState.REMOVING:
            assert act is MemberAct.REMOVE, seen
            assert made.add == (SHAPE,), "its successor need not wait"
            continue
        assert act is not MemberAct.REMOVE, "only what can no longer be claimed is removed"
        if act is MemberAct.OFFER:
            assert dormant, seen
            assert state is MemberState.STARTING
        if act is MemberAct.START:
            assert state is MemberState.STARTING
            assert not running, "a sandbox that runs is not started again"
            assert age_s <= RULES.start_timeout_s
        if dormant and age_s < 100:
            assert act is (MemberAct.OFFER if state is MemberState.STARTING else None), seen
        if sandbox is not None and sandbox.state in {SandboxState.EXITED, SandboxState.PAUSED}:
            assert act is MemberAct.RETIRE, seen
            assert one(made).failed
        if state is MemberState.READY and (sandbox is None or (running and runner is not None and not dormant)):
            assert act is MemberAct.RETIRE, "it could not serve a create at once"
        if running and runner is None:
            late = state is MemberState.STARTING and age_s > RULES.start_timeout_s
            old = state is MemberState.READY and age_s > RULES.max_age_s
            silent = state is MemberState.READY and seen.silent_s
            expected = MemberAct.RETIRE if silent or late or old else None
            assert act is expected, (seen, state, age_s)


def test_a_failed_health_check_costs_nothing_and_a_silence_the_member() -> None:
    running = Sandbox(1, SandboxState.RUNNING, "c")
    assert plan(member(1), member(2), seen=Seen(running, None, 4)).decisions == ()
    starting = member(1, MemberState.STARTING), member(2, MemberState.STARTING)
    assert plan(*starting, seen=Seen(running, None, 50)).decisions == (), "its start has a longer deadline"
    made = plan(member(1), member(2), seen=Seen(running, None, 5))
    assert acts(made) == {1: MemberAct.RETIRE, 2: MemberAct.RETIRE}
    assert all("does not answer" in each.why for each in made.decisions)


def test_members_that_are_made_differently_are_replaced_at_once() -> None:
    for other in (
        replace(SHAPE, recipe="new image"),
        replace(SHAPE, memory_bytes=2),
        replace(SHAPE, cpus=2.0),
        replace(SHAPE, pids=2),
    ):
        made = plan(member(1), member(2, shape=other))
        assert acts(made) == {2: MemberAct.RETIRE}
        assert not one(made).failed
        assert made.add == (SHAPE,)
    unknown = replace(CALM, shape=None)
    assert plan(member(1), member(2, shape=replace(SHAPE, pids=2)), situation=unknown) == Plan((), (), 2)
    assert plan(situation=unknown).add == (), "while the engine does not say how sandboxes are made"


def test_old_members_are_replaced_one_at_a_time() -> None:
    both = member(1, age_s=200), member(2, age_s=150)
    made = plan(*both)
    assert acts(made) == {1: MemberAct.RETIRE}
    assert made.add == (SHAPE,)
    starting = member(3, MemberState.STARTING)
    running = {each.id: UP for each in both} | {starting.id: Seen(Sandbox(1, SandboxState.RUNNING, "c"))}
    made = make_plan([both[1], starting], running, CALM, NOW, RULES)
    assert made.decisions == (), "its predecessor's successor is not ready yet"
    assert plan(*both, rules=replace(RULES, max_age_s=0)).decisions == ()
    assert plan(*both, situation=replace(CALM, may_add=False)).decisions == (), "it could not be replaced"


def test_there_are_never_more_members_than_free_slots() -> None:
    for free, expected in ((-1, {1, 2}), (0, {1, 2}), (1, {1}), (2, set()), (9, set())):
        made = plan(member(1), member(2), situation=replace(CALM, free_slots=free))
        assert set(acts(made)) == expected, free
        assert set(acts(made).values()) <= {MemberAct.RETIRE}
    assert plan(situation=replace(CALM, free_slots=0)) == Plan((), (), 0, "slots")
    # What cannot be claimed yet goes before what can.
    made = plan(member(1), member(2, MemberState.STARTING), situation=replace(CALM, free_slots=1))
    assert acts(made) == {2: MemberAct.RETIRE}


def test_the_pool_shrinks_one_by_one_when_memory_is_short_and_grows_when_there_is_plenty() -> None:
    def with_memory(available: int) -> Situation:
        return replace(CALM, memory=Memory(available, 100))

    assert acts(plan(member(1), member(2), situation=with_memory(9))) == {1: MemberAct.RETIRE}
    assert acts(plan(member(2), situation=with_memory(9))) == {2: MemberAct.RETIRE}
    assert plan(situation=with_memory(9)) == Plan((), (), 0, "memory")
    assert plan(member(1), situation=with_memory(12)) == Plan((), (), 2, "memory")
    assert plan(member(1), situation=with_memory(15)).add == (SHAPE,)


def test_starts_of_sessions_come_first() -> None:
    busy = replace(CALM, starting_sessions=1)
    assert plan(member(1), situation=busy) == Plan((), (), 2, "starts of sessions")
    assert plan(member(1, MemberState.STARTING), seen=Seen(), situation=busy).decisions == ()
    assert acts(plan(member(1, MemberState.STARTING), seen=UP, situation=busy)) == {1: MemberAct.OFFER}


def test_an_unwanted_pool_ends() -> None:
    made = plan(member(1), member(2, MemberState.STARTING), situation=replace(CALM, wanted=False))
    assert acts(made) == {1: MemberAct.RETIRE, 2: MemberAct.RETIRE}
    assert (made.add, made.target) == ((), 0)


def test_failing_members_do_not_pile_up() -> None:
    removing = [member(number, MemberState.REMOVING) for number in range(1, MAX_REMOVALS + 1)]
    assert plan(*removing[:-1]).add == (SHAPE,)
    made = plan(*removing)
    assert made.add == ()
    assert set(acts(made).values()) == {MemberAct.REMOVE}
    assert plan(situation=replace(CALM, may_add=False)).add == ()


@pytest.mark.parametrize("size", range(4))
@pytest.mark.parametrize("free_slots", range(4))
def test_an_obedient_world_settles_at_the_size(size: int, free_slots: int) -> None:
    """From every set of members, with every act carried out at once: no endless work, and the pool is full."""
    for states in itertools.product([None, *MemberState], repeat=3):
        settle(size, free_slots, states)


def settle(size: int, free_slots: int, states: tuple[MemberState | None, ...]) -> None:
    members = [member(number, state) for number, state in enumerate(states, 1) if state is not None]
    seen = {each.id: UP if each.state is MemberState.READY else Seen() for each in members}
    situation, rules = replace(CALM, free_slots=free_slots), replace(RULES, size=size)
    number = itertools.count(10)
    for _ in range(20):
        made = make_plan(members, seen, situation, NOW, rules)
        for decision in made.decisions:
            id_ = decision.member.id
            place = next(at for at, each in enumerate(members) if each.id == id_)
            match decision.act:
                case MemberAct.START:
                    seen[id_] = UP
                case MemberAct.OFFER:
                    members[place] = replace(members[place], state=MemberState.READY)
                case MemberAct.RETIRE:
                    members[place] = replace(members[place], state=MemberState.REMOVING)
                case MemberAct.REMOVE:
                    del members[place]
        members += [member(next(number), MemberState.STARTING) for _ in made.add]
        if not made.decisions and not made.add:
            break
    assert [each.state for each in members] == [MemberState.READY] * min(size, free_slots)
    assert all(seen[each.id] == UP for each in members)
