"""Caddy: where the URL of each session leads."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from jelmore.session.world import Address, Route


class Edge(Protocol):
    """Caddy, and the folder of routes it dials into."""

    async def check(self) -> None:
        """Return when Caddy answers."""

    async def program(self) -> bool:
        """Make Caddy's configuration the wanted one; return whether it had to be changed."""

    async def publish(self, session_id: UUID, to: Address | None, *, route: Route) -> None:
        """Lead the session's URL to `to`, atomically replacing what was there.

        A sleeping session's (`Route.MANAGER`) leads to whichever manager is there when somebody calls; `to` is then
        not read. RefusedError for an address that cannot be linked.
        """

    async def withdraw(self, session_id: UUID) -> None:
        """Remove the session's URL. Absent is success."""

    async def route(self, session_id: UUID) -> Route:
        """Return where the session's URL leads now."""

    async def routes(self) -> Sequence[UUID]:
        """Return every published session."""

    async def close(self) -> None:
        """Release connections."""
