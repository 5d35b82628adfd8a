"""The warm pools of all profiles: each has its size, and all share the host's memory, slots and starts. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

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


@dataclass(frozen=True, slots=True)
class Want:
    """The pool that a profile asks for. `shape` is that of its new members, None while the engine is away.

    With `waits` none is added now: some have failed.
    """

    profile: str
    size: int
    shape: Shape | None
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Addition:
    """A member to add, unless its profile has `most` by then."""

    profile: str
    shape: Shape
    most: int


@dataclass(frozen=True, slots=True)
class Plans:
    """What to do now with the members of all profiles; `limited_by` is that of the first pool that is too small."""

    decisions: tuple[Decision, ...]
    add: tuple[Addition, ...]
    limited_by: str = ""


def plan_all(
    members: Sequence[Member],
    seen: Mapping[UUID, Seen],
    wants: Sequence[Want],
    situation: Situation,
    now: datetime,
    rules: Rules,
) -> Plans:
    """Return what to do now. Earlier pools of `wants` get slots, memory and starts first.

    `rules.size` and the shape of `situation` do not count. Members of a profile that wants none are retired.
    """
    wanted = {want.profile for want in wants}
    left = [Want(name, 0, None) for name in sorted({each.profile for each in members} - wanted)]
    decisions: list[Decision] = []
    add: list[Addition] = []
    limited_by, slots = "", situation.free_slots
    shrinks = _shrinking(members, [*wants, *left])
    for want in [*wants, *left]:
        mine = [each for each in members if each.profile == want.profile]
        others = sum(each.state is MemberState.STARTING for each in members) - _starting(mine) + len(add)
        removing = sum(each.act in {MemberAct.RETIRE, MemberAct.REMOVE} for each in decisions)
        here = replace(
            situation,
            shape=want.shape,
            free_slots=slots,
            memory=situation.memory if want.profile == shrinks else _kept(situation.memory, rules),
            may_add=situation.may_add and not want.waits and removing < MAX_REMOVALS,
        )
        within = replace(rules, size=want.size, starts_at_once=max(0, rules.starts_at_once - others))
        plan: Plan = make_plan(mine, seen, here, now, within)
        decisions += plan.decisions
        add += [Addition(want.profile, shape, plan.target) for shape in plan.add]
        limited_by = limited_by or plan.limited_by
        slots -= plan.target
    return Plans(tuple(decisions), tuple(add), limited_by)


def _shrinking(members: Sequence[Member], wants: Sequence[Want]) -> str:
    """Return the profile whose pool shrinks when memory runs short: one at a time, the last one that has a member."""
    staying = {each.profile for each in members if each.state is not MemberState.REMOVING}
    return next((want.profile for want in reversed(wants) if want.profile in staying), "")


def _kept(memory: Memory | None, rules: Rules) -> Memory | None:
    """Return memory with which a pool neither shrinks nor, where it is short, grows."""
    if memory is None or memory.available >= memory.total * rules.low_memory:
        return memory
    return replace(memory, available=int(memory.total * rules.low_memory) + 1)


def _starting(members: Sequence[Member]) -> int:
    return sum(each.state is MemberState.STARTING for each in members)
