"""Limits on the open streams of this process: in total, per session and per API key; WebSocket and SSE together."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from jelmore_protocol.websocket_server import ConnectionBudget, ServerLimits

MAX_STREAMS: Final = 4000
MAX_STREAMS_OF_A_SESSION: Final = 1000


def descriptors_to_use() -> int:
    """Return how many file descriptors streams may use. The rest is for databases, files and runners."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft // 2, soft - 512)


class StreamLimits:
    """Counts the open streams of this process."""

    def __init__(self, limits: ServerLimits) -> None:
        self.limits = limits
        self._all = ConnectionBudget(min(MAX_STREAMS, descriptors_to_use()))
        self._sessions: dict[UUID, ConnectionBudget] = {}

    @contextmanager
    def counted(self, session_id: UUID, subject: str, *, can_write: bool) -> Iterator[None]:
        """Count a stream while it is open. Raises TooManyError."""
        of_session = self._sessions.setdefault(session_id, ConnectionBudget(MAX_STREAMS_OF_A_SESSION))
        try:
            with (
                self._all.counted(subject, can_write=can_write),
                of_session.counted(subject, can_write=can_write),
            ):
                yield
        finally:
            if not len(of_session):
                self._sessions.pop(session_id, None)
