"""Caches the control address of each session's sandbox: an input to an awake session must not wait for the engine."""

import asyncio
from collections import OrderedDict
from typing import Final
from uuid import UUID

from jelmore.ports import ControlAddress, Sandboxes
from jelmore.session.errors import DependencyError
from jelmore.session.record import Session
from jelmore.session.world import Sandbox

_MAX_KEPT: Final = 4096


class SandboxLookup:
    """Control addresses by session. An entry is valid only for the sandbox and generation that the record names."""

    def __init__(self) -> None:
        self._kept: OrderedDict[UUID, tuple[str, ControlAddress]] = OrderedDict()
        self._waiting: dict[UUID, set[asyncio.Future[ControlAddress]]] = {}

    async def control(self, sandboxes: Sandboxes, session: Session) -> ControlAddress:
        """Return the control address of the session's runner. Raises DependencyError while it has no such sandbox."""
        kept = self._kept.get(session.id)
        if kept is not None and kept[0] == session.container_id and kept[1].generation == session.generation:
            return kept[1]
        sandbox = await sandboxes.observe(session.id)
        if sandbox is None or sandbox.control is None or sandbox.generation != session.generation:
            raise DependencyError("session", f"{session.id} has no running sandbox")
        self._keep(session.id, sandbox.id, sandbox.control)
        return sandbox.control

    def hint(self, session_id: UUID, generation: int) -> ControlAddress | None:
        """Return where the runner of this generation listened when its sandbox was last seen; it may be gone since."""
        kept = self._kept.get(session_id)
        return kept[1] if kept is not None and kept[1].generation == generation else None

    def began(self, at: ControlAddress) -> None:
        """Wake the callers of `beginning`: the runner there has its session, and takes inputs."""
        for waiter in self._waiting.get(at.session_id, ()):
            if not waiter.done():
                waiter.set_result(at)

    async def beginning(self, session_id: UUID) -> ControlAddress:
        """Return where a runner takes inputs of the session, as soon as this manager has initialized one."""
        waiter: asyncio.Future[ControlAddress] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(session_id, set()).add(waiter)
        try:
            return await waiter
        finally:
            self._waiting[session_id].discard(waiter)
            if not self._waiting[session_id]:
                del self._waiting[session_id]

    def saw(self, session_id: UUID, sandbox: Sandbox | None) -> None:
        """Keep the address of a sandbox that was observed anyway, before the first call needs it."""
        if sandbox is not None and sandbox.control is not None:
            self._keep(session_id, sandbox.id, sandbox.control)

    def _keep(self, session_id: UUID, sandbox_id: str, control: ControlAddress) -> None:
        self._kept[session_id] = (sandbox_id, control)
        self._kept.move_to_end(session_id)
        while len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
