"""Several profiles have warm pools: each has its size, and they share slots, memory and starts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from jelmore.session.limits import Limits
from jelmore.session.pool import MAX_REMOVALS, Member, MemberAct, MemberState, Memory, Rules, Seen, Shape, Situation
from jelmore.session.pool_profiles import Plans, Want, plan_all
from jelmore.session.world import AgentAhead, Runner, RunnerPhase, Sandbox, SandboxState
from tests.support.records import MOMENT

SHAPE = Shape.of("recipe", Limits())
SMALL = Shape.of("recipe", Limits(memory_bytes=1 << 30))
WELL = Seen(Sandbox(1, SandboxState.RUNNING, "c"), Runner(RunnerPhase.DORMANT, 0, 0, agent_ahead=AgentAhead.CONNECTED))
SITUATION = Situation(shape=None, free_slots=10, starting_sessions=0)
RULES = Rules(0)


def member(number: int, profile: str, state: MemberState = MemberState.READY, shape: Shape = SHAPE) -> Member:
    return Member(UUID(int=number), state, shape, MOMENT, profile)


def plan(members: Sequence[Member], wants: Sequence[Want], situation: Situation = SITUATION) -> Plans:
    seen = {each.id: WELL for each in members}
    return plan_all(members, seen, wants, situation, MOMENT + timedelta(seconds=1), RULES)


def wants(**sizes: int) -> list[Want]:
    return [Want(name, size, SMALL if name == "review" else SHAPE) for name, size in sizes.items()]


def test_each_profile_fills_with_its_own_shape_one_start_at_a_time() -> None:
    first = plan([], wants(default=1, review=2))
    assert [(each.profile, each.shape, each.most) for each in first.add] == [("default", SHAPE, 1)]
    second = plan([member(1, "default")], wants(default=1, review=2))
    assert [(each.profile, each.shape, each.most) for each in second.add] == [("review", SMALL, 2)]
    starting = [member(1, "default"), member(2, "review", MemberState.STARTING, SMALL)]
    assert plan(starting, wants(default=2, review=2)).add == ()


def test_a_profile_that_wants_none_any_more_loses_its_members() -> None:
    found = plan([member(1, "default"), member(2, "gone")], wants(default=1))
    assert [(each.member.profile, each.act) for each in found.decisions] == [("gone", MemberAct.RETIRE)]


def test_a_shape_is_compared_with_that_of_the_own_profile() -> None:
    found = plan([member(1, "default"), member(2, "review", shape=SMALL)], wants(default=1, review=1))
    assert found.decisions == ()
    found = plan([member(1, "default"), member(2, "review", shape=SHAPE)], wants(default=1, review=1))
    assert [each.member.id.int for each in found.decisions] == [2]


def test_the_first_pools_get_the_slots() -> None:
    members = [member(1, "default"), member(2, "default"), member(3, "review", shape=SMALL)]
    found = plan(members, wants(default=2, review=2), replace(SITUATION, free_slots=2))
    assert [(each.member.id.int, each.act) for each in found.decisions] == [(3, MemberAct.RETIRE)]
    assert (found.add, found.limited_by) == ((), "slots")


def test_one_pool_shrinks_at_a_time_when_memory_runs_short_and_none_grows() -> None:
    members = [member(1, "default"), member(2, "review", shape=SMALL), member(3, "review", shape=SMALL)]
    short = replace(SITUATION, memory=Memory(available=5, total=100))
    found = plan(members, wants(default=2, review=2), short)
    assert [each.member.id.int for each in found.decisions] == [2]
    found = plan(members[:1], wants(default=2, review=2), short)
    assert [each.member.id.int for each in found.decisions] == [1]
    found = plan(members[:1], wants(default=2, review=2), replace(SITUATION, memory=Memory(available=12, total=100)))
    assert (found.decisions, found.add, found.limited_by) == ((), (), "memory")


def test_members_that_are_being_removed_hold_back_the_other_pools_too() -> None:
    leaving = [member(number, "default", MemberState.REMOVING) for number in range(MAX_REMOVALS)]
    assert plan(leaving, wants(default=1, review=1)).add == ()
    assert [each.profile for each in plan(leaving[1:], wants(default=0, review=1)).add] == ["review"]
