"""Caches the control address of each session's sandbox, so that the engine is asked once per sandbox."""

from collections import OrderedDict
from typing import Final
from uuid import UUID

from jelmore.ports import ControlAddress, Sandboxes
from jelmore.session.errors import DependencyError
from jelmore.session.record import Session

_MOST_KEPT: Final = 4096


class SandboxLookup:
    """Control addresses by session. An entry is valid only for the sandbox and generation that the record names."""

    def __init__(self) -> None:
        self._kept: OrderedDict[UUID, tuple[str, ControlAddress]] = OrderedDict()

    async def control(self, sandboxes: Sandboxes, session: Session) -> ControlAddress:
        """Return the control address of the session's runner. Raises DependencyError while it has no such sandbox."""
        kept = self._kept.get(session.id)
        if kept is not None and kept[0] == session.container_id and kept[1].generation == session.generation:
            return kept[1]
        sandbox = await sandboxes.observe(session.id)
        if sandbox is None or sandbox.control is None or sandbox.generation != session.generation:
            raise DependencyError("session", f"{session.id} has no running sandbox")
        self._kept[session.id] = (sandbox.id, sandbox.control)
        self._kept.move_to_end(session.id)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return sandbox.control
