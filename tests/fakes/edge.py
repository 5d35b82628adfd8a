"""`Edge` in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from jelmore.ports import Address
from jelmore.session.errors import DependencyError, RefusedError
from jelmore.session.world import Route


@dataclass
class FakeEdge:
    """Routes as a mapping. `away` is Caddy's absence: publishing works without it, as with the real one."""

    published: dict[UUID, tuple[Address | None, Route]] = field(default_factory=dict)
    programmed: bool = False
    away: bool = False

    async def check(self) -> None:
        if self.away:
            raise DependencyError("caddy", "the fake Caddy is away")

    async def program(self) -> bool:
        await self.check()
        changed, self.programmed = not self.programmed, True
        return changed

    async def publish(self, session_id: UUID, to: Address | None, *, route: Route) -> None:
        if route is not Route.MANAGER and (to is None or not to.text.startswith(("unix:/", "tcp:")) or " " in to.text):
            raise RefusedError("caddy", f"cannot lead a session's URL to {to}")
        self.published[session_id] = (to, route)

    async def withdraw(self, session_id: UUID) -> None:
        self.published.pop(session_id, None)

    async def route(self, session_id: UUID) -> Route:
        return self.published[session_id][1] if session_id in self.published else Route.ABSENT

    async def routes(self) -> Sequence[UUID]:
        return list(self.published)

    async def close(self) -> None:
        """Nothing to release."""
