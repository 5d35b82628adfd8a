"""The engine's event stream, as ids of sessions to reconcile.

aiodocker's own stream does not resume after it ends and has an unbounded queue. This one reads directly from the
response, so a slow reader slows the engine down, and it resumes where it ended.
"""

import json
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

from jelmore.drivers.docker_config import INSTANCE, READER, SESSION
from jelmore.drivers.docker_engine import DockerEngine, EngineError
from jelmore.session.errors import DependencyError

WORDS: Final = ("create", "start", "die", "oom", "pause", "unpause", "destroy")
MAX_REMEMBERED: Final = 1000
QUIET_S: Final = 300.0
"""A stream that is silent for this long is closed: its connection may be dead without any error."""


class DockerEvents:
    """The event stream and the position where it ended. One reader at a time."""

    def __init__(self, engine: DockerEngine, instance: str) -> None:
        self._engine = engine
        self._instance = instance
        self._since_ns = time.time_ns()
        self._ran_out: deque[str] = deque(maxlen=MAX_REMEMBERED)

    def ran_out_of_memory(self, container_id: str) -> bool:
        """Return whether this process has seen an out-of-memory kill in that container.

        The engine itself reports them only for containers that have exited (seen on 20.10, cgroup v1).
        """
        return container_id in self._ran_out

    async def changes(self) -> AsyncIterator[UUID]:
        """Yield sessions whose container changed since the last call ended. May end at any time; call it again.

        Raises DependencyError.
        """
        filters = {"type": ["container"], "event": list(WORDS), "label": [f"{INSTANCE}={self._instance}"]}
        since = f"{self._since_ns // 10**9}.{self._since_ns % 10**9:09d}"
        try:
            async with self._engine.lines(
                "events", params={"since": since, "filters": filters}, quiet_s=QUIET_S
            ) as lines:
                async for line in lines:
                    session_id = self._take(line)
                    if session_id is not None:
                        yield session_id
        except EngineError as error:
            raise DependencyError("docker", f"no events: {error.message}") from None

    def _take(self, line: bytes) -> UUID | None:
        """Return the session of one event, None for an event that is not ours. Advances the position."""
        try:
            event: dict[str, Any] = json.loads(line)
            # The engine's `since` is inclusive: without + 1 the last event would repeat after every reconnect.
            self._since_ns = max(self._since_ns, int(event["timeNano"]) + 1)
            attributes = event["Actor"]["Attributes"]
            if event["Action"] == "oom":
                self._ran_out.append(event["Actor"]["ID"])
            return None if READER in attributes else UUID(attributes[SESSION])
        except (ValueError, KeyError, TypeError):
            return None
