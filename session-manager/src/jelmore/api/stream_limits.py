"""Limits on the open streams of this process: in total, per session and per API key; WebSocket and SSE together."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from jelmore_protocol.websocket_server import ConnectionBudget, ServerLimits

MAX_STREAMS: Final = 4000
MAX_STREAMS_OF_A_SESSION: Final = 1000
MAX_FILES: Final = 65_536
"""Enough for all streams. Processes that this one starts inherit the limit, and some try every number below it."""

_SHARE_OF_PORTS: Final = 8
"""A connection to a port has four descriptors: the client's, the runner's, and a pair between. So half are theirs."""


def descriptors_to_use() -> int:
    """Return how many file descriptors streams may use. The rest is for databases, files and runners."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft // 2, soft - 512)


def allow_many_files() -> None:
    """Raise this process's limit of open files, within what is allowed. May run twice."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if most == resource.RLIM_INFINITY else min(most, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class StreamLimits:
    """Counts the open streams of this process, and the connections to ports, which take no place of a stream."""

    def __init__(self, limits: ServerLimits) -> None:
        self.limits = limits
        self._all = ConnectionBudget(min(MAX_STREAMS, descriptors_to_use()))
        self._ports = ConnectionBudget(min(MAX_STREAMS, descriptors_to_use() // _SHARE_OF_PORTS))
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

    @contextmanager
    def port_counted(self, subject: str) -> Iterator[None]:
        """Count a connection to a port while it is open. Raises TooManyError. A runner bounds those of its session."""
        with self._ports.counted(subject, can_write=True):
            yield
