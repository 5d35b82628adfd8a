"""A session ends on time, whatever its sandbox answers and whatever its journal holds."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from jelmore.control.requests import Changes, CreateRequest
from jelmore.control.salvage import MAX_REMEMBERED, MAX_TRIES, Salvage
from jelmore.ports import ControlAddress
from jelmore.session.errors import DependencyError, FaultError, ForbiddenError, RefusedError, SessionEndedError
from jelmore.session.record import Session
from jelmore.session.states import ContainerPhase, Fact, SessionStatus, Wanted
from jelmore.session.world import Route, SandboxState
from jelmore_protocol.control import Health, Stop
from jelmore_protocol.gateway import sandbox_key
from tests.fakes.edge import FakeEdge
from tests.support.records import line, new_session
from tests.unit.control.machine import HostedRunners, Machine
from tests.unit.control.world import ALICE, POLICY, Manager, World, until

DEADLINE_S = POLICY.stop_timeout_s + POLICY.drain_timeout_s


class HostileRunners(HostedRunners):
    """Runners that answer as `hostile` does once it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.on_health: Callable[[Health], Health] | Exception | None = None
        self.on_stop: Exception | None = None
        self.hangs = False

    async def health(self, at: ControlAddress) -> Health:
        health = await super().health(at)
        if self.hangs:
            await asyncio.sleep(3600)
        if isinstance(self.on_health, Exception):
            raise self.on_health
        return self.on_health(health) if self.on_health else health

    async def stop(self, at: ControlAddress, stop: Stop) -> None:
        if self.on_stop is not None:
            raise self.on_stop
        if not self.hangs and self.on_health is None:
            await super().stop(at, stop)


class HostileMachine(Machine):
    """A machine whose journals cannot be read, or hold what a hostile runner wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.runners: HostileRunners = HostileRunners()
        self.on_journal: bytes | Exception | None = None
        self.journal_hangs = False

    async def journal(self, session_id: UUID) -> AsyncGenerator[bytes]:
        if self.journal_hangs:
            await asyncio.sleep(3600)
        if isinstance(self.on_journal, Exception):
            raise self.on_journal
        if self.on_journal is not None:
            yield self.on_journal
            return
        async for piece in super().journal(session_id):
            yield piece


class Place:
    """A world with a hostile machine, one manager and one session."""

    def __init__(self) -> None:
        self.machine = HostileMachine()
        self.world = World(machine=self.machine)
        self.manager = Manager(self.world)

    async def create(self, **timing: float) -> UUID:
        request = CreateRequest(timing=timing)
        created = await self.manager.commands.create(ALICE, request, idempotency=None, wait=True)
        return created.session.id

    async def delete(self, session_id: UUID) -> float:
        """Return the seconds until the deleted session has ended."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.manager.commands.delete(ALICE, session_id, reason="deleted", wait=False)
        await until(self.world, session_id, lambda session: session.ended, "the end")
        assert self.machine.state(session_id) is None
        return loop.time() - began


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    place = Place()
    await place.manager.start()
    yield place
    await place.manager.kill()


def far_ahead(health: Health) -> Health:
    return health.model_copy(update={"seq": 10**12})


@pytest.mark.parametrize(
    "answer",
    [RefusedError("runner", "403"), ForbiddenError("403"), FaultError("nonsense"), far_ahead],
    ids=["refused", "forbidden", "fault", "far ahead"],
)
async def test_a_session_whose_health_is_hostile_can_be_ended(
    place: Place, answer: Callable[[Health], Health] | Exception
) -> None:
    session_id = await place.create()
    place.machine.runners.on_health = answer
    assert await place.delete(session_id) <= DEADLINE_S


@pytest.mark.parametrize("error", [RefusedError("runner", "403"), FaultError("no"), DependencyError("runner", "no")])
async def test_a_session_that_refuses_to_stop_can_be_ended(place: Place, error: Exception) -> None:
    session_id = await place.create()
    place.machine.runners.on_stop = error
    assert await place.delete(session_id) <= DEADLINE_S


async def test_a_session_that_never_answers_can_be_ended(place: Place) -> None:
    session_id = await place.create()
    place.machine.runners.hangs = True
    assert await place.delete(session_id) <= DEADLINE_S


async def test_a_deleted_session_loses_the_gateway_while_its_sandbox_is_waited_for(place: Place) -> None:
    session_id = await place.create()
    place.machine.runners.hangs = True
    place.manager.queue.add(session_id)  # this pass waits for the health of the sandbox
    await asyncio.sleep(1)
    await place.manager.commands.delete(ALICE, session_id, reason="deleted", wait=False)
    await asyncio.sleep(1)
    assert place.world.gateway.revoked == [sandbox_key(session_id, 1)]


def poison(at: str = "2026-01-02T03:04:05.000Z", data: str = "{}") -> bytes:
    return f'{{"type":"event","seq":1,"kind":"message","at":"{at}","data":{data}}}\n'.encode()


JOURNALS: dict[str, bytes | Exception] = {
    "a link": RefusedError("docker", "not a regular file"),
    "unreadable for good": FaultError("cannot be read"),
    "unreadable for now": DependencyError("docker", "reset"),
    "breaks its reader": ValueError("a bug of ours"),
    "deep": poison(data="[" * 100_000 + "]" * 100_000),
    "deep objects": poison(data='{"a":' * 100_000 + "1" + "}" * 100_000),
    "before all time": poison(at="0001-01-01T00:00:00+23:59"),
    "after all time": poison(at="9999-12-31T23:59:59-23:59"),
    "long number": poison(data='{"n":' + "9" * 100_000 + "}"),
    "not text": b"\xff\x00" * 100,
}


@pytest.mark.parametrize("name", JOURNALS)
async def test_a_session_whose_journal_is_hostile_can_be_ended(place: Place, name: str) -> None:
    session_id = await place.create()
    place.machine.on_journal = JOURNALS[name]
    await place.machine.snatch(session_id)  # so that its journal is read from the volume
    assert await place.delete(session_id) <= DEADLINE_S


async def test_a_session_whose_journal_cannot_be_read_in_time_can_be_ended(place: Place) -> None:
    session_id = await place.create()
    place.machine.journal_hangs = True
    place.machine.runners.hangs = True
    assert await place.delete(session_id) <= DEADLINE_S


@pytest.mark.parametrize("name", JOURNALS)
async def test_a_session_that_fails_ends_whatever_its_journal_holds(place: Place, name: str) -> None:
    place.machine.on_journal = JOURNALS[name]
    session_id = await place.create(idle_after_s=0)
    for generation in range(1, POLICY.restarts_allowed + 2):

        def serving(session: Session, generation: int = generation) -> bool:
            return session.generation == generation and session.container_phase is ContainerPhase.SERVING

        await until(place.world, session_id, serving, "the restart")
        await place.machine.kill(session_id)
    await until(place.world, session_id, lambda session: session.status is SessionStatus.FAILED, "the failure")


# --- what a step was decided on


class InterferingEdge(FakeEdge):
    """Calls `meanwhile`, once, while a session is being observed."""

    meanwhile: Callable[[], object] | None = None

    async def route(self, session_id: UUID) -> Route:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()  # type: ignore[misc]
        return await super().route(session_id)


async def test_a_change_that_comes_before_a_timers_end_keeps_the_session() -> None:
    edge = InterferingEdge()
    world = World(edge=edge)
    manager = Manager(world)
    await manager.start()
    request = CreateRequest(timing={"timeout_s": 10, "warn_before_s": 0, "idle_after_s": 0, "hibernate_after_s": 0})
    session_id = (await manager.commands.create(ALICE, request, idempotency=None, wait=True)).session.id
    await asyncio.sleep(9.9)

    async def extend() -> None:
        await asyncio.sleep(1)  # the step in progress has been decided to be an end when this is stored
        await manager.commands.change(ALICE, session_id, Changes(timeout_s=1000))

    edge.meanwhile = extend
    await asyncio.sleep(60)
    session = await world.store.load(session_id)
    assert (session.wanted, session.spec.timing.timeout_s) == (Wanted.RUNNING, 1000)
    await manager.kill()


class StallingEdge(FakeEdge):
    """Calls `meanwhile`, once, in the observation of an unpublished session: its sandbox has been looked at before."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def route(self, session_id: UUID) -> Route:
        route = await super().route(session_id)
        if route is Route.ABSENT and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return route


async def test_a_removal_that_stalled_leaves_the_next_generation_alone() -> None:
    """Another manager ends the session and starts it again between the look at the sandbox and its removal."""
    edge = StallingEdge()
    world = World(edge=edge)
    slow, other = Manager(world), Manager(world)
    await slow.start()
    session_id = (await slow.commands.create(ALICE, CreateRequest(), idempotency=None, wait=True)).session.id
    resumed: list[Session] = []

    async def meanwhile() -> None:
        await other.start()
        await other.commands.delete(ALICE, session_id, reason="deleted", wait=True)
        resumed.append(await other.commands.resume(ALICE, session_id, wait=True))

    await slow.commands.delete(ALICE, session_id, reason="deleted", wait=False)
    await world.machine.kill(session_id)  # the removal is the next step, once the session is unpublished
    edge.meanwhile = meanwhile
    await until(world, session_id, lambda session: session.generation == 2 and bool(resumed), "the next generation")
    await asyncio.sleep(30)
    session, sandbox = await world.store.load(session_id), await world.machine.observe(session_id)
    assert sandbox is not None
    assert (session.container_id, session.restarts) == (resumed[0].container_id, 0)
    assert (sandbox.id, sandbox.generation, sandbox.state) == (session.container_id, 2, SandboxState.RUNNING)
    await other.kill()
    await slow.kill()


@pytest.mark.parametrize("changes", [Changes(timeout_s=1000), Changes(idle_after_s=9), Changes(hibernate_after_s=9)])
async def test_a_change_of_timeouts_that_comes_after_the_end_was_decided_is_refused(
    place: Place, changes: Changes
) -> None:
    session_id = await place.create(timeout_s=10, warn_before_s=0)
    place.machine.runners.on_stop = RefusedError("runner", "403")  # so that the end takes its time
    await until(place.world, session_id, lambda session: session.wanted is Wanted.ENDED, "the timeout")
    with pytest.raises(SessionEndedError):
        await place.manager.commands.change(ALICE, session_id, changes)
    await until(place.world, session_id, lambda session: session.ended, "the end")
    with pytest.raises(SessionEndedError):
        await place.manager.commands.change(ALICE, session_id, changes)
    shown = await place.manager.commands.change(ALICE, session_id, Changes(title="still mine"))
    assert shown.session.title == "still mine"


async def test_a_failure_is_not_recorded_over_a_restart_that_came_meanwhile(place: Place) -> None:
    """The journal is read, and its output stored, on the newest record: the failure was decided on an older one."""
    session_id = await place.create()
    store = place.world.store
    decided = await store.load(session_id)
    await place.manager.relays.detach(session_id)
    lost, drafts = decided.after(Fact.CONTAINER_LOST, decided.since + timedelta(seconds=1))
    await store.save(lost, drafts)
    place.machine.disks[session_id].journal.append(line(decided.output_seq + 1))
    salvage = Salvage(place.machine, place.manager.relays, within_s=1)
    with pytest.raises(Exception, match="was changed") as raised:
        await salvage.store_rest(decided, None)
    assert getattr(raised.value, "code", "") == "stale"
    assert (await store.load(session_id)).output_seq == decided.output_seq + 1, "what was journaled is stored"


# --- what is remembered


async def test_what_only_saves_a_read_is_forgotten(place: Place) -> None:
    salvage = Salvage(place.machine, place.manager.relays, within_s=1)
    sessions = [new_session() for _ in range(MAX_REMEMBERED + 5)]
    for session in sessions:
        salvage.mark_complete(session)
    assert salvage.remembered() == MAX_REMEMBERED
    assert salvage.is_complete(sessions[-1])
    assert not salvage.is_complete(sessions[0])
    for session in sessions:
        salvage.forget(session.id)
    assert salvage.remembered() == 0


async def test_a_journal_is_tried_a_few_times_and_then_given_up(place: Place) -> None:
    place.machine.on_journal = DependencyError("docker", "reset")
    salvage, session = Salvage(place.machine, place.manager.relays, within_s=1), new_session()
    for _ in range(MAX_TRIES - 1):
        with pytest.raises(DependencyError):
            await salvage.store_rest(session, None)
    assert await salvage.store_rest(session, None) is session
    assert await salvage.store_rest(session, 0) is session, "an end that has no time left"
