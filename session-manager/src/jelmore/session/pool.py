"""The warm pool: decides which sandboxes to start ahead of their sessions, to keep and to remove. Pure.

A member is a sandbox with a runner and without a session. It has the id that its session will have. It fits a create
whose sandbox would be made in the same way: its image, its configuration, memory, processors and processes are fixed
when it starts. Everything else arrives with the session.

The input is what is stored and observed now. So a decision may be made twice, late, or on another manager.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from jelmore.session.limits import Limits
from jelmore.session.profiles import DEFAULT_NAME
from jelmore.session.timers import seconds_between
from jelmore.session.world import AgentAhead, Runner, RunnerPhase, Sandbox, SandboxState

GENERATION: Final = 1
"""The generation of every member: a session that claims it continues with it."""

MAX_REMOVALS: Final = 4
"""While so many members are being removed, none is added, so that failing ones do not pile up."""


class MemberState(StrEnum):
    """The state of a member, as stored. Only a ready one can be claimed; one that is being removed never is again."""

    STARTING = "starting"
    READY = "ready"
    REMOVING = "removing"


class MemberAct(StrEnum):
    """What to do with one member. Each does nothing when a session has claimed the member meanwhile."""

    START = "start"  # start its sandbox
    OFFER = "offer"  # store that it is ready
    RETIRE = "retire"  # store that it is to be removed
    REMOVE = "remove"  # remove its sandbox, its volume and its registration, then its row


_LEAVING: Final = frozenset({MemberAct.RETIRE, MemberAct.REMOVE})


@dataclass(frozen=True, slots=True)
class Shape:
    """What is fixed when a sandbox starts. `recipe` names its image and configuration."""

    recipe: str
    memory_bytes: int
    cpus: float
    pids: int

    @classmethod
    def of(cls, recipe: str, limits: Limits) -> "Shape":
        """Return the shape of a sandbox with these limits."""
        return cls(recipe, limits.memory_bytes, limits.cpus, limits.pids)


@dataclass(frozen=True, slots=True)
class Member:
    """A member as stored. `id` is its sandbox's and its session's."""

    id: UUID
    state: MemberState
    shape: Shape
    created_at: datetime
    profile: str = DEFAULT_NAME  # whose options its agent was started with


@dataclass(frozen=True, slots=True)
class Seen:
    """A member as observed. `silent_s` is for how long its runner has not answered."""

    sandbox: Sandbox | None = None
    runner: Runner | None = None
    silent_s: float = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of the host, in bytes."""

    available: int
    total: int


@dataclass(frozen=True, slots=True)
class Rules:
    """The deployment's pool. Times are in seconds, parts of the host's memory between 0 and 1."""

    size: int
    max_age_s: float = 0  # 0 does not limit
    start_timeout_s: float = 60
    starts_at_once: int = 1
    silence_s: float = 5  # after which a ready member that does not answer is replaced
    connect: bool = True  # whether agents are started ahead too
    connect_s: float = 30  # after which a starting member is offered without one
    low_memory: float = 0.10  # below this part available, the pool shrinks
    ample_memory: float = 0.15  # below this part available, it does not grow


@dataclass(frozen=True, slots=True)
class Situation:
    """What the pool depends on, beside its members. `shape` is that of new members, None while the engine is away."""

    shape: Shape | None
    free_slots: int
    starting_sessions: int  # sessions that wait for their sandbox: their starts come first
    memory: Memory | None = None  # None when it is not known
    wanted: bool = True  # False while draining, or when the gateway is too old to hold members
    may_add: bool = True  # False for a while after a member has failed, and without disk


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one member, and why. `failed` is set when the member did not do what it should."""

    member: Member
    act: MemberAct
    why: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions on the members, the shapes of those to add, and how many there should be now.

    `limited_by` says what keeps the pool below its size: memory, slots, or starts of sessions.
    """

    decisions: tuple[Decision, ...]
    add: tuple[Shape, ...]
    target: int
    limited_by: str = ""


def make_plan(
    members: Sequence[Member], seen: Mapping[UUID, Seen], situation: Situation, now: datetime, rules: Rules
) -> Plan:
    """Return what to do now. `members` are in the order of their age, the oldest first."""
    decisions = {
        each.id: decision
        for each in members
        if (decision := _step(each, seen.get(each.id, Seen()), situation, now, rules)) is not None
    }
    stay = [each for each in members if each.id not in decisions or decisions[each.id].act not in _LEAVING]
    target = _target(len(stay), situation, rules)
    surplus = sorted(stay, key=lambda member: member.state is MemberState.READY)[: max(0, len(stay) - target)]
    for each in surplus:  # those that are not ready first, then the oldest
        decisions[each.id] = Decision(each, MemberAct.RETIRE, f"there should be {target}")
    stay = [each for each in stay if each not in surplus]
    if (old := _too_old(stay, situation, now, rules)) is not None:
        decisions[old.id] = Decision(old, MemberAct.RETIRE, f"it is older than {rules.max_age_s:g} s")
        stay = [each for each in stay if each is not old]
    leaving = sum(decision.act in _LEAVING for decision in decisions.values())
    add = _added(stay, target, situation, rules) if leaving < MAX_REMOVALS else ()
    return Plan(tuple(decisions.values()), add, target, _limited_by(len(stay) + len(add), situation, rules))


def is_well(seen: Seen) -> bool:
    """Return whether a member could serve a create now."""
    running = seen.sandbox is not None and seen.sandbox.state is SandboxState.RUNNING
    return running and seen.runner is not None and seen.runner.phase is RunnerPhase.DORMANT


def _step(member: Member, seen: Seen, situation: Situation, now: datetime, rules: Rules) -> Decision | None:
    if member.state is MemberState.REMOVING:
        return Decision(member, MemberAct.REMOVE)
    if situation.shape is not None and member.shape != situation.shape:
        return Decision(member, MemberAct.RETIRE, "new sandboxes are made differently")
    starting = member.state is MemberState.STARTING
    fault = _fault(seen, rules, starting=starting)
    if fault is not None:
        return Decision(member, MemberAct.RETIRE, fault, failed=True)
    if not starting:
        return None
    if is_well(seen) and not _awaits_agent(member, seen, now, rules):
        return Decision(member, MemberAct.OFFER)
    if seconds_between(member.created_at, now) > rules.start_timeout_s:
        why = f"its runner did not answer within {rules.start_timeout_s:g} s"
        return Decision(member, MemberAct.RETIRE, why, failed=True)
    started = seen.sandbox is not None and seen.sandbox.state is SandboxState.RUNNING
    wait = started or situation.starting_sessions > 0
    return None if wait else Decision(member, MemberAct.START)


def _awaits_agent(member: Member, seen: Seen, now: datetime, rules: Rules) -> bool:
    """Return whether the agent of a member may still connect. Without one, a session starts its own."""
    if not rules.connect or seen.runner is None or seen.runner.agent_ahead is not AgentAhead.STARTING:
        return False
    return seconds_between(member.created_at, now) <= rules.connect_s


def _fault(seen: Seen, rules: Rules, *, starting: bool) -> str | None:
    """Return what is wrong with a member; None when it is well or still starts."""
    sandbox = seen.sandbox
    if sandbox is None or sandbox.state is SandboxState.CREATED:
        return None if starting else "its container is gone"
    if sandbox.generation != GENERATION:
        return f"its container is of generation {sandbox.generation}"
    if sandbox.state is not SandboxState.RUNNING:
        ended = sandbox.state is SandboxState.EXITED
        return f"its container exited with {sandbox.exit_code}" if ended else "its container is paused"
    if seen.runner is None:
        silent = not starting and seen.silent_s >= rules.silence_s
        return "its runner does not answer" if silent else None
    return None if seen.runner.phase is RunnerPhase.DORMANT else f"its runner is {seen.runner.phase}"


def _target(count: int, situation: Situation, rules: Rules) -> int:
    """Return how many members there should be: never more than free slots, fewer when memory runs short."""
    if not situation.wanted:
        return 0
    target = max(0, min(rules.size, situation.free_slots))
    memory = situation.memory
    if memory is not None and memory.available < memory.total * rules.low_memory:
        target = min(target, max(0, count - 1))  # one at a time: each removal changes what is available
    return target


def _too_old(stay: Sequence[Member], situation: Situation, now: datetime, rules: Rules) -> Member | None:
    """Return the oldest member if it is too old and all are ready: so they are replaced one at a time."""
    replaceable = situation.may_add and all(each.state is MemberState.READY for each in stay)
    if not stay or not rules.max_age_s or not replaceable:
        return None
    return stay[0] if seconds_between(stay[0].created_at, now) > rules.max_age_s else None


def _added(stay: Sequence[Member], target: int, situation: Situation, rules: Rules) -> tuple[Shape, ...]:
    """Return the members to add. The starts of sessions come first."""
    if situation.shape is None or situation.starting_sessions or not situation.may_add or not _ample(situation, rules):
        return ()
    starting = sum(each.state is MemberState.STARTING for each in stay)
    return (situation.shape,) * max(0, min(target - len(stay), rules.starts_at_once - starting))


def _ample(situation: Situation, rules: Rules) -> bool:
    memory = situation.memory
    return memory is None or memory.available >= memory.total * rules.ample_memory


def _limited_by(count: int, situation: Situation, rules: Rules) -> str:
    if count >= rules.size or not situation.wanted:
        return ""
    if not _ample(situation, rules):
        return "memory"
    if situation.free_slots < rules.size:
        return "slots"
    return "starts of sessions" if situation.starting_sessions else ""
