"""A world with one manager, for tests of the calls on sessions."""

from uuid import UUID

from jelmore.control.requests import CreateRequest
from jelmore.session.record import Session
from jelmore.session.states import Presence
from jelmore.session.world import SandboxState
from tests.unit.control.machine import HostedRunner
from tests.unit.control.world import ALICE, Manager, World, until

PAUSES_SOON: dict[str, float] = {"idle_after_s": 4, "hibernate_after_s": 0}


PAUSES_THEN_HIBERNATES: dict[str, float] = {"idle_after_s": 4, "hibernate_after_s": 10}


class ManagerHarness:
    """A world with one manager."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.manager = Manager(self.world)
        self.queries, self.commands = self.manager.queries, self.manager.commands

    async def create(self, query: str | None = None, timing: dict[str, float] | None = None) -> UUID:
        request = CreateRequest(query=query, timing=timing or {})
        return (await self.commands.create(ALICE, request, idempotency=None, wait=True)).session.id

    async def record(self, session_id: UUID) -> Session:
        session: Session = await self.world.store.load(session_id)
        return session

    def runner(self, session_id: UUID) -> HostedRunner:
        return self.world.machine.runner(session_id)

    async def sleeping_session(self, presence: Presence) -> UUID:
        session_id = await self.create(timing=PAUSES_SOON if presence is Presence.PAUSED else PAUSES_THEN_HIBERNATES)
        state = SandboxState.PAUSED if presence is Presence.PAUSED else None

        def is_inactive(session: Session) -> bool:
            return session.presence is presence and self.world.machine.state(session_id) is state

        await until(self.world, session_id, is_inactive, presence.value)
        return session_id

    async def input(self, session_id: UUID, text: str = "go", input_id: str | None = None) -> int:
        return (await self.commands.input(ALICE, session_id, text, input_id=input_id, wait_s=None)).seq


STATES = ["initializing", "active", "waiting", "frozen", "hibernated", "terminated", "failed"]


async def in_state(harness: ManagerHarness, state: str) -> UUID:
    """Return a session in one of the `STATES`."""
    match state:
        case "initializing":
            return (await harness.commands.create(ALICE, CreateRequest(), idempotency=None, wait=False)).session.id
        case "active":
            return await harness.create("go")
        case "waiting":
            return await harness.create()
        case "frozen" | "hibernated":
            return await harness.sleeping_session(Presence(state))
        case _:
            session_id = await harness.create()
            await harness.runner(session_id).end(0 if state == "terminated" else 1)
            await until(harness.world, session_id, lambda one: one.ended, state)
            return session_id
