"""Plays the parts of the ports for a life of a session, and checks what must be true whatever went wrong.

Callers try again until they are answered, and a host starts another manager when one has died.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

from jelmore.control.requests import CreateRequest
from jelmore.ports import Idempotency, StoredEvent
from jelmore.session.errors import CapacityError, ConflictError, DependencyError, SessionEndedError
from jelmore.session.events import EventType
from jelmore.session.pool import MemberState
from jelmore.session.record import Session
from jelmore.session.states import MOVES, Presence, SessionStatus
from jelmore.session.world import Route, SandboxState
from tests.unit.control.crashing import Fault
from tests.unit.control.world import ALICE, TIMING, Manager, World

LEGAL = {(before.value, after.value) for (before, _), after in MOVES.items() if before is not after}


_UNCOUNTED = {
    EventType.OUTPUT_RECEIVED.value,
    EventType.SESSION_STATE_CHANGED.value,
    EventType.ERROR_RECEIVED.value,  # a death under a session that is deleted just then may be seen, or not
}


PATIENCE_S = 300.0


class Stage:
    """One world, one session, and always one manager."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.manager = Manager(world)
        self.session_id = UUID(int=0)
        self.calls: list[str] = []
        self.deaths = 0
        self.creates = 0

    async def open(self) -> None:
        """Start the first manager."""
        await self.attempt(self.manager.start)

    async def close(self) -> None:
        """End the last manager."""
        await self.manager.kill()

    def arm(self, number: int, fault: Fault | None) -> None:
        """From here on, let the call of that number go wrong."""
        self.manager.fuse.arm(number, fault)
        self.calls = self.manager.fuse.calls

    async def attempt[T](self, call: Callable[[], Awaitable[T]]) -> T:
        """Do a thing until it is done: after a failure again, after a death with another manager."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < deadline:
            try:
                answer = await self.manager.attempt(call)
            except (DependencyError, CapacityError):
                await asyncio.sleep(0.1)
                continue
            if not self.manager.fuse.died.is_set():
                return answer  # type: ignore[return-value]  # None only when the manager died
            await self._next_manager()
        raise AssertionError("a caller was never answered")

    async def reach(self, holds: Callable[[Session], bool | Awaitable[bool]], what: str) -> Session:
        """Return the record as soon as `holds` is true of it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while True:
            if self.manager.fuse.died.is_set():
                await self._next_manager()
            session: Session | None = await self._stored()
            held = session is not None and holds(session)
            if session is not None and (held if isinstance(held, bool) else await held):
                return session
            if loop.time() > deadline:
                raise AssertionError(f"never {what}: {session}, {self.world.machine.sandboxes}")
            await asyncio.sleep(self.world.look_s)

    async def _stored(self) -> Session | None:
        return await self.world.store.load(self.session_id) if self.session_id.int else None

    async def _next_manager(self) -> None:
        await self.manager.kill()
        self.deaths += 1
        await self.restart()

    async def restart(self) -> None:
        """Start another manager in place of one that was killed."""
        self.manager = Manager(self.world)
        await self.manager.start()

    # --- what the owner does

    async def create(self, query: str | None = "one", **timing: float) -> None:
        request = CreateRequest(query=query, timing={**_mapping(), **timing})
        key = Idempotency(f"create {self.creates}", "digest")
        self.creates += 1

        async def call() -> None:
            created = await self.manager.commands.create(ALICE, request, idempotency=key, wait=True)
            self.session_id = created.session.id

        await self.attempt(call)

    async def input(self, text: str) -> None:
        async def call() -> None:
            try:
                await self.manager.commands.input(ALICE, self.session_id, text, input_id=f"id-{text}", wait_s=None)
            except SessionEndedError:  # an attempt whose answer was lost had stored it, and it could not be resumed
                session = await self.world.store.load(self.session_id)
                if f"id-{text}" not in [each.id for each in session.pending_inputs]:
                    raise

        await self.attempt(call)

    async def delete(self) -> None:
        async def call() -> None:
            await self.manager.commands.delete(ALICE, self.session_id, reason="deleted", wait=True)

        await self.attempt(call)
        await self.reach(lambda session: session.ended, "ended")

    async def resume(self) -> None:
        async def call() -> None:
            try:
                await self.manager.commands.resume(ALICE, self.session_id, wait=True)
            except ConflictError:
                session = await self.world.store.load(self.session_id)
                if session.ended:
                    raise

        await self.attempt(call)

    # --- what the agent does

    async def works(self) -> None:
        await self.reach(lambda session: session.status is SessionStatus.ACTIVE, "active")

    async def finish(self) -> None:
        """Let the agent end its turn, and wait until the record says so."""
        await self.world.machine.runner(self.session_id).finish()
        await self.waits()

    async def waits(self) -> None:
        def waiting(session: Session) -> bool:
            return session.status is SessionStatus.WAITING_INPUT and session.container_id is not None

        await self.reach(waiting, "waiting")

    async def rests(self, presence: Presence) -> None:
        state = SandboxState.PAUSED if presence is Presence.PAUSED else None

        def resting(session: Session) -> bool:
            return session.presence is presence and self.world.machine.state(self.session_id) is state

        await self.reach(resting, presence.value)

    # --- what must be true

    async def settled(self) -> Session:
        """Wait until nothing is left to be done, then return the record."""

        async def settled(session: Session) -> bool:
            sandbox, published = self.world.machine.state(self.session_id), self.world.edge.published
            if await self.world.store.waiting_events():
                return False
            if session.ended:
                return sandbox is None and self.session_id not in published
            if session.presence is Presence.AWAKE:
                running = sandbox is SandboxState.RUNNING and session.container_id is not None
                seen = session.output_seq == self.world.machine.runner(self.session_id).seq if running else False
                return seen and published[self.session_id][1] is Route.RUNNER
            return published[self.session_id][1] is Route.MANAGER

        return await self.reach(settled, "settled")

    async def pool_is_whole(self) -> list[UUID]:
        """Wait until the pool is full and nothing is left of anything else; return its members."""
        world, loop = self.world, asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while True:
            if self.manager.fuse.died.is_set():
                await self._next_manager()
            members = [each.id for each in world.store.pool.values() if each.state is MemberState.READY]
            live = [one.id for one in world.store.sessions.values() if not one.ended]
            held = [UUID(entry.session_id) for entry in world.gateway.sandboxes.values() if entry.held]
            everything = sorted([*members, *live])
            if (
                len(members) == len(world.store.pool) == world.pool_size
                and sorted(world.machine.sandboxes) == everything
                and set(world.machine.volumes) == {*members, *world.store.sessions}
                and sorted(held) == sorted(members)
                and not set(members) & set(world.edge.published)
            ):
                return members
            if loop.time() > deadline:
                found = (world.store.pool, world.machine.sandboxes, world.machine.volumes, world.gateway.sandboxes)
                raise AssertionError(f"the pool never became whole: {found}")
            await asyncio.sleep(world.look_s)

    async def check(self) -> Counter[str]:
        """Assert what every life must keep to, and return how often each event was published.

        Changes of state are left out of the count, their chain is checked: a record may follow an agent's first
        states as they come in, or take over the newest at once.
        """
        session = await self.settled()
        self.manager.fuse.disarm()
        if self.manager.fuse.died.is_set():  # while it was looked at: the last manager must be alive to serve a reader
            session = await self.settled()
            self.manager.fuse.disarm()
        world, session_id = self.world, self.session_id
        journal = [output.seq for output in world.machine.disks[session_id].journal]
        stored = await world.store.output(session_id, 0, 10_000)
        assert journal == list(range(1, len(journal) + 1))
        assert [output.seq for output in stored] == journal, "the store has what the runner journaled"
        assert session.output_seq == len(journal)
        events = await world.store.events(session_id, 0, 10_000)
        _check_events(session, events)
        published = [event for event in world.events.published if event.session_id == session_id]
        assert [event.seq for event in published] == [event.seq for event in events], "published once each, in order"
        await self._check_reader(journal, session)
        executed = world.machine.disks[session_id].executed
        assert len(executed) == len(set(executed)), "no prompt was executed twice"
        return Counter(event.type for event in events if event.type not in _UNCOUNTED)

    async def _check_reader(self, journal: list[int], session: Session) -> None:
        """Someone who reads from the start, live, gets everything once."""
        seen: list[int] = []
        stream = self.manager.streams.follow(session, 0)
        try:
            async with asyncio.timeout(60):
                async for item in stream:
                    if item.seq is not None:
                        seen.append(item.seq)
                    if len(seen) >= len(journal):
                        break
        finally:
            await stream.aclose()  # type: ignore[attr-defined]  # an async generator
        assert seen == journal


def _mapping() -> dict[str, float]:
    return {"idle_after_s": TIMING.idle_after_s, "hibernate_after_s": 0, "timeout_s": 0}


def _check_events(session: Session, events: list[StoredEvent]) -> None:
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert session.event_seq == len(events)
    types = Counter(event.type for event in events)
    assert types[EventType.SESSION_CREATED] == 1
    assert types[EventType.SESSION_STARTED] <= 1
    status = SessionStatus.INITIALIZING.value
    for event in events:
        if event.type == EventType.SESSION_STATE_CHANGED:
            assert event.payload["from"] == status, "each change starts where the last one ended"
            assert (status, event.payload["to"]) in LEGAL
            status = event.payload["to"]
    assert status == session.status.value
    covered = 0
    for event in events:
        if event.type == EventType.OUTPUT_RECEIVED:
            assert event.payload["from_seq"] == covered + 1, "output is told of without a gap, once"
            covered = event.payload["to_seq"]
    assert covered == session.output_seq
