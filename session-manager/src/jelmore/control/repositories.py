"""Brings a repository into the workspace of a session that is being created, before anything of it is stored or runs.

So a create either has its repository or did not happen: no session starts without the code that it was made for.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import structlog

from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.gateway_keeper import profile_name
from jelmore.control.requests import WantedRepository
from jelmore.control.workspaces import Workspaces
from jelmore.ports import RepositorySource, Sandboxes
from jelmore.session.errors import ConflictError, JelmoreError
from jelmore.session.record import Session
from jelmore_protocol.gateway import RepositoryRequest

_log = structlog.get_logger(__name__)

_ERASE_S: Final = 10.0
_POLL_S: Final = 0.2


class Repositories:
    """Prepares workspaces from repositories."""

    def __init__(
        self,
        source: RepositorySource,
        workspaces: Workspaces,
        sandboxes: Sandboxes,
        disk: DiskCapacity,
        *,
        most_bytes: int,
    ) -> None:
        self._source = source
        self._workspaces = workspaces
        self._sandboxes = sandboxes
        self._disk = disk
        self._most_bytes = most_bytes

    @asynccontextmanager
    async def prepared(self, session: Session, wanted: WantedRepository | None) -> AsyncIterator[Session]:
        """Yield the session with the repository in its workspace, or as it is without one.

        An exception inside removes the workspace again. Raises RepositoryError, DependencyError, CapacityError, and
        what a full workspace raises.
        """
        if wanted is None:
            yield session
            return
        async with self.kept_if_created(session):
            yield await self._load(session, wanted)

    @asynccontextmanager
    async def kept_if_created(self, session: Session) -> AsyncIterator[None]:
        """Run the block, and remove the workspace of the session if it raises."""
        try:
            yield
        except BaseException:
            await asyncio.shield(self.remove(session))
            raise

    async def remove(self, session: Session) -> None:
        """Remove the workspace of a session that was not created. What cannot be removed is left to the sweep."""
        try:
            async with asyncio.timeout(_ERASE_S):
                while True:
                    await self._workspaces.release(session.id)
                    try:
                        await self._sandboxes.erase(session.id)
                    except ConflictError:
                        await asyncio.sleep(_POLL_S)
                    else:
                        return
        except (JelmoreError, TimeoutError) as error:
            _log.warning("workspace_left", session_id=str(session.id), error=str(error))

    async def _load(self, session: Session, wanted: WantedRepository) -> Session:
        await self._disk.check()
        limit = session.spec.limits.workspace_bytes
        most = min(self._most_bytes, limit) if limit else self._most_bytes
        asked = RepositoryRequest(
            url=wanted.url,
            ref=wanted.ref,
            depth=wanted.depth,
            credential=wanted.credential,
            user_id=session.spec.acting_user,
            profile=profile_name(session),
            max_bytes=most,
        )
        async with self._source.fetch(asked) as found:
            unpack = {"op": "extract", "path": "", "form": "tar", "most_bytes": limit or 2**50}
            async with self._workspaces.fresh(session.id, unpack, found.archive):
                pass
            async with self._workspaces.fresh(session.id, {"op": "checkout", "commit": found.commit}):
                pass
        origin: dict[str, Any] = {
            "url": wanted.url,
            "ref": wanted.ref or None,
            "branch": found.branch or None,
            "commit": found.commit,
        }
        return replace(session, spec=replace(session.spec, repository=origin))
