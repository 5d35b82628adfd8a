"""Keeps the warm pool: starts sandboxes ahead of their sessions, offers them, and removes what does not fit any more.

The failure that it must not cause: a sandbox that two sessions use, or that is removed under a session. A member can be
claimed only while its row says `ready`, and is removed only when its row says `removing`; the row changes from one to
the other in one statement, and a claim deletes it in the transaction that stores the session.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.gateway_keeper import GatewayKeeper
from jelmore.control.observer import runner_view
from jelmore.control.ports import Ports
from jelmore.control.runner_init import prepare_of
from jelmore.control.session_spec import Defaults
from jelmore.ports import HostMemory, PoolStore, Sandboxes, SandboxSpec
from jelmore.session.errors import CapacityError, ConflictError, DependencyError, JelmoreError
from jelmore.session.limits import Limits
from jelmore.session.pool import (
    GENERATION,
    Decision,
    Member,
    MemberAct,
    MemberState,
    Rules,
    Seen,
    Shape,
    Situation,
)
from jelmore.session.pool_profiles import Plans, Want, plan_all
from jelmore.session.record import Session
from jelmore.session.world import ControlAddress, Runner, Sandbox, SandboxState
from jelmore_protocol import ProtocolError, negotiated
from jelmore_protocol.control import Health, Phase, Prepare

_log = structlog.get_logger(__name__)

_PASSES_S: Final = 6.0
"""How long one run may continue with passes, so that it ends before its lease does."""

_LOOK_S: Final = 0.1
_READY_LOOK_S: Final = 10.0
"""Between two looks at a ready member. One that ends in between costs its session a start, and nothing else."""

_HEALTH_S: Final = 2.0
_PREPARE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class ProfilePool:
    """What a profile asks for: how many members, for sessions like `plain`, whose create asks for nothing.

    None where such a create is refused: its members stay, and no others are started.
    """

    profile: str
    size: int
    plain: Session | None


@dataclass(slots=True)
class _Failures:
    """The members of a profile that have failed in a row, why the last of several did, and when to add another one."""

    count: int = 0
    fault: str = ""
    add_at: float = 0.0


class WarmPool:
    """The members of the warm pool. One manager runs `keep` at a time; two at once do no harm.

    `pools` returns what each profile asks for now, the most important first; the size of `rules` does not count.
    """

    def __init__(
        self,
        ports: Ports,
        store: PoolStore,
        gateway: GatewayKeeper,
        defaults: Defaults,
        rules: Rules,
        *,
        pools: Callable[[], Sequence[ProfilePool]],
        memory: HostMemory,
        disk: DiskCapacity,
    ) -> None:
        self._ports = ports
        self._store = store
        self._gateway = gateway
        self._defaults = defaults
        self._rules = rules
        self._pools = pools
        self._memory = memory
        self._disk = disk
        self._seen: dict[UUID, tuple[float, Seen]] = {}  # when each member was observed, and as what
        self._silent: dict[UUID, datetime] = {}  # since when a member's runner does not answer
        self._failures: dict[str, _Failures] = {}  # by profile: those of one do not delay the members of others
        self._noted = ""  # what went wrong at this look
        self._unmade = ""  # why the sandboxes of a profile cannot be made; those of others can
        self._problem = ""
        self._counts: Mapping[str, int] = {}
        self._limited_by = ""

    async def ids(self) -> Sequence[UUID]:
        """Return the ids of all members: they are reserved for sessions that do not exist yet."""
        return [each.id for each in await self._store.members()]

    def report(self) -> Mapping[str, Any]:
        """Return what the last run here found: the members by state, and why there are not more."""
        return {
            "size": self._size(),
            **self._counts,
            "limited_by": self._limited_by,
            "problem": self._problem,
        }

    async def check(self) -> None:
        """Raise DependencyError when the pool of this manager cannot fill."""
        if self._problem:
            raise DependencyError("pool", self._problem)

    async def stats(self) -> Mapping[str, Any]:
        """Return the size, the members by state, and the creates by the stage that served them."""
        counts, claims = _counts(await self._store.members()), await self._store.claims()
        return {"size": self._size(), **counts, "claims": dict(claims)}

    def _size(self) -> int:
        return sum(each.size for each in self._pools())

    async def keep(self) -> None:
        """Bring the pool to its size, for at most a few seconds. May run any number of times.

        Raises DependencyError when PostgreSQL is unavailable.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _PASSES_S
        while await self.once() and loop.time() < until:
            await asyncio.sleep(_LOOK_S)

    async def once(self) -> bool:
        """Look, decide, and act once; return whether to look again soon."""
        members = await self._store.members()
        self._counts = _counts(members)
        if not members and not self._size():
            return False
        self._noted = ""
        plan = await self._plan(members)
        if plan is not None:
            done = [await self._try(decision) for decision in plan.decisions]
            if all(done):  # a member that does not answer is being retired
                await self._store.confirm()
            await self._add(plan)
            self._limited_by = plan.limited_by
        self._counts = _counts(await self._store.members())
        fault = next((each.fault for each in self._failures.values() if each.fault), "")
        self._problem = self._noted or self._unmade or fault
        if plan is None or self._problem:
            return False
        changing = self._counts[MemberState.STARTING] + self._counts[MemberState.REMOVING]
        return bool(plan.decisions or plan.add or changing)

    async def _plan(self, members: Sequence[Member]) -> Plans | None:
        """Observe and decide. None while the engine is away. Raises DependencyError without PostgreSQL."""
        wants = await self._wants()
        try:
            seen = await self._look(members)
        except DependencyError as error:
            self._noted = str(error)
            return None
        return plan_all(members, seen, wants, await self._situation(), self._ports.clock.now(), self._rules)

    # --- what it depends on

    async def _wants(self) -> Sequence[Want]:
        self._unmade, now = "", asyncio.get_running_loop().time()
        pools = self._pools()
        failed = self._failures
        self._failures = {each.profile: failed[each.profile] for each in pools if each.profile in failed}
        return [
            Want(each.profile, each.size, await self._shape(each), waits=self._add_at(each.profile) > now)
            for each in pools
        ]

    def _add_at(self, profile: str) -> float:
        return self._failures[profile].add_at if profile in self._failures else 0.0

    async def _shape(self, pool: ProfilePool) -> Shape | None:
        """Return the shape of the profile's new members; None when they cannot be made now, and others' can."""
        if pool.plain is None:
            named = f"a create that only names the profile {pool.profile!r}"
            self._unmade = f"{named} is refused, so it can have no pool"
            return None
        try:
            recipe = await self._ports.sandboxes.recipe(pool.plain.spec.sandbox)
        except JelmoreError as error:
            self._unmade = str(error)
            return None
        return Shape.of(recipe, pool.plain.spec.limits)

    def _plain(self, member: Member) -> Session | None:
        """Return the session that the member is for; None when its profile is gone, or cannot be used like this."""
        return next((each.plain for each in self._pools() if each.profile == member.profile), None)

    async def _look(self, members: Sequence[Member]) -> Mapping[UUID, Seen]:
        """Observe the members that are not being removed; those that were ready a moment ago count as they were.

        Raises DependencyError without the engine.
        """
        now = asyncio.get_running_loop().time()
        left = {each.id: each for each in members if each.state is not MemberState.REMOVING}
        self._seen = {id_: kept for id_, kept in self._seen.items() if id_ in left and kept[0] > now - _READY_LOOK_S}
        due = [each for each in left.values() if each.state is MemberState.STARTING or each.id not in self._seen]
        found = await asyncio.gather(*(self._see(each) for each in due))
        self._seen |= {each.id: (now, one) for each, one in zip(due, found, strict=True)}
        self._silent = {id_: since for id_, since in self._silent.items() if id_ in left}
        return {id_: one for id_, (_, one) in self._seen.items()}

    async def _see(self, member: Member) -> Seen:
        sandbox = await self._ports.sandboxes.observe(member.id, GENERATION)
        self._ports.lookup.saw(member.id, sandbox)  # the create that claims it asks its runner at once
        if sandbox is None or sandbox.state is not SandboxState.RUNNING:
            return Seen(sandbox)
        runner = await self._ask(member, sandbox)
        if runner is not None:
            self._silent.pop(member.id, None)
            return Seen(sandbox, runner)
        now = self._ports.clock.now()
        return Seen(sandbox, None, (now - self._silent.setdefault(member.id, now)).total_seconds())

    async def _ask(self, member: Member, sandbox: Sandbox) -> Runner | None:
        if sandbox.control is None:
            return None
        try:
            async with asyncio.timeout(_HEALTH_S):
                health = await self._ports.runners.health(sandbox.control)
            return runner_view(await self._connected(member, sandbox.control, health))
        except (JelmoreError, ProtocolError, TimeoutError):
            return None

    async def _connected(self, member: Member, at: ControlAddress, health: Health) -> Health:
        """Have the agent of a member that waits started, as sessions are started now; return the health after it."""
        if not self._rules.connect or health.phase is not Phase.DORMANT or health.agent_ahead is None:
            return health
        protocol = negotiated(health.protocol, health.oldest_protocol)
        try:
            async with asyncio.timeout(_PREPARE_S):
                prepare = await self._prepare(member, protocol)
                return health if prepare is None else await self._ports.runners.prepare(at, prepare)
        except (JelmoreError, ValueError, TimeoutError) as error:  # its sessions start their own
            _log.warning("pool_agent_refused", member=str(member.id), error=str(error))
            return health

    async def _prepare(self, member: Member, protocol: int) -> Prepare | None:
        plain = self._plain(member)
        if plain is None:
            return None
        session = replace(plain, id=member.id)
        spec = replace(session.spec, mcp_servers=await self._gateway.mcp_servers(session))
        return prepare_of(replace(session, spec=spec), protocol)

    async def _situation(self) -> Situation:
        demand = await self._store.demand()
        return Situation(
            shape=None,  # each profile has its own
            free_slots=self._defaults.most_live - demand.slots_used,
            starting_sessions=demand.starting,
            memory=self._memory.read(),
            wanted=not self._defaults.draining and self._gateway.can_hold is not False,
            may_add=await self._may_add(),
        )

    async def _may_add(self) -> bool:
        if self._gateway.can_hold is False:
            self._noted = "the gateway is of an earlier version and cannot hold sandboxes; update it"
        try:
            await self._disk.check()
        except CapacityError as error:
            self._noted = str(error)
        return self._gateway.can_hold is True and not self._noted

    # --- acts

    async def _try(self, decision: Decision) -> bool:
        """Carry out a decision; return whether it stands. What fails is decided again at the next look."""
        try:
            await self._act(decision)
        except ConflictError:
            return True  # its volume is still in use by the container that was just removed
        except JelmoreError as error:
            self._noted = f"{decision.act} of a member failed: {error}"
            if decision.act is MemberAct.START:
                self._failed(decision.member.profile, str(error))
            return decision.act is not MemberAct.RETIRE
        return True

    async def _act(self, decision: Decision) -> None:
        member = decision.member
        match decision.act:
            case MemberAct.START:
                await self._start(member)
            case MemberAct.OFFER:
                if await self._store.offer(member.id):
                    self._failures.pop(member.profile, None)
                    _log.info("pool_member_ready", member=str(member.id))
            case MemberAct.RETIRE:
                if await self._store.retire(member.id):
                    _log.info("pool_member_retired", member=str(member.id), why=decision.why)
                    if decision.failed:
                        self._failed(member.profile, decision.why)
            case MemberAct.REMOVE:
                await self._remove(member)

    def _failed(self, profile: str, why: str) -> None:
        """Wait longer after each failure in a row: a broken image must not keep the engine busy."""
        failures = self._failures.setdefault(profile, _Failures())
        failures.count += 1
        pause_s = min(2.0**failures.count, _LONGEST_PAUSE_S)
        failures.add_at = asyncio.get_running_loop().time() + pause_s
        if failures.count > 1:
            failures.fault = f"{failures.count} members in a row have failed: {why}"
        _log.warning("pool_member_failed", profile=profile, why=why, failures=failures.count, pause_s=pause_s)

    async def _add(self, plan: Plans) -> None:
        for each in plan.add:
            member = await self._store.add(uuid7(), each.shape, profile=each.profile, most=each.most)
            if member is not None:
                await self._try(Decision(member, MemberAct.START))

    async def _start(self, member: Member) -> None:
        """Start the member's sandbox, held by the gateway. May run twice."""
        plain = self._plain(member)
        if plain is None:
            return
        await self._gateway.hold(member.id)
        shape = member.shape
        limits = Limits(shape.memory_bytes, shape.cpus, shape.pids)
        await self._ports.sandboxes.start(
            SandboxSpec(member.id, GENERATION, limits, choice=plain.spec.sandbox, ahead=True)
        )
        if await self._store.exists(member.id) or await self._ports.store.load_many([member.id]):
            return
        # Another manager removed the member meanwhile, as this one was slow. Nobody else knows its sandbox now.
        _log.warning("pool_member_unclaimed", member=str(member.id))
        await self._remove(member)

    async def _remove(self, member: Member) -> None:
        """Remove everything of a retired member, its row last. May run any number of times.

        A sandbox in which a session ran is left to the sweep, which keeps its workspace. Raises ConflictError while the
        engine still removes the container, DependencyError.
        """
        if await was_used(self._ports.sandboxes, member.id):
            _log.error("pool_member_was_used", member=str(member.id), why="is the database older than its sandboxes?")
            await self._store.forget(member.id)
            return
        sandbox = await self._ports.sandboxes.observe(member.id)
        if sandbox is not None:
            await self._ports.sandboxes.remove(sandbox.id)
        await self._ports.sandboxes.erase(member.id)
        await self._gateway.release(member.id)
        await self._store.forget(member.id)


async def was_used(sandboxes: Sandboxes, member_id: UUID) -> bool:
    """Return whether a session ran in a member: its volume has a journal.

    A database that is restored from an earlier moment lists members that sessions have claimed since. Their work must
    not be erased. Raises DependencyError.
    """
    async with aclosing(sandboxes.journal(member_id)) as pieces:
        async for piece in pieces:
            if piece:
                return True
    return False


def _counts(members: Sequence[Member]) -> Mapping[str, int]:
    return {state.value: sum(each.state is state for each in members) for state in MemberState}
