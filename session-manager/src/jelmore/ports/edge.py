"""Caddy: the route of each session's URL."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from jelmore.session.world import Address, Route


class Edge(Protocol):
    """Caddy, and the folder of routes that it dials."""

    async def check(self) -> None:
        """Return when Caddy answers."""

    async def program(self) -> bool:
        """Bring Caddy's configuration to the desired state; return whether it had to be changed."""

    async def publish(self, session_id: UUID, to: Address | None, *, route: Route) -> None:
        """Route the session's URL to `to`, replacing any earlier route atomically.

        With `Route.MANAGER` (a session that is paused, hibernated or starting again), each request goes to any manager
        that runs at that time, and `to` is ignored. Raises RefusedError for an address that is neither `unix:/path` nor
        `tcp:host:port`.
        """

    async def withdraw(self, session_id: UUID) -> None:
        """Remove the route of the session's URL. Succeeds when there is none."""

    async def route(self, session_id: UUID) -> Route:
        """Return where the session's URL leads at present."""

    async def routes(self) -> Sequence[UUID]:
        """Return the ids of all sessions that have a route."""

    async def close(self) -> None:
        """Release connections."""
