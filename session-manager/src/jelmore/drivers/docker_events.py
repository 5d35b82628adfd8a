"""The engine's event stream as ids of sessions to look at.

The library's own stream never comes back after its first end and keeps an unbounded queue: this one is read straight
from the answer, so a slow reader slows the engine's sending, and begins again where it ended.
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
MOST_REMEMBERED: Final = 1000
QUIET_S: Final = 300.0
"""A stream without a word for so long is given up: its connection may be dead without a sign of it."""


class DockerEvents:
    """Where the stream was left. One reader at a time."""

    def __init__(self, engine: DockerEngine, instance: str) -> None:
        self._engine = engine
        self._instance = instance
        self._since_ns = time.time_ns()
        self._ran_out: deque[str] = deque(maxlen=MOST_REMEMBERED)

    def ran_out_of_memory(self, container_id: str) -> bool:
        """Return whether anything in that container was killed for want of memory, as far as this process has heard.

        The engine itself tells only of containers that have ended (seen on 20.10, cgroup v1).
        """
        return container_id in self._ran_out

    async def changes(self) -> AsyncIterator[UUID]:
        """Yield sessions whose container changed since the last call ended. Raises DependencyError, or just ends."""
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
        """Return the session of one event, None for what is not ours. Moves the mark on."""
        try:
            event: dict[str, Any] = json.loads(line)
            # The engine's mark is inclusive: one further, or the last event would be told for ever.
            self._since_ns = max(self._since_ns, int(event["timeNano"]) + 1)
            attributes = event["Actor"]["Attributes"]
            if event["Action"] == "oom":
                self._ran_out.append(event["Actor"]["ID"])
            return None if READER in attributes else UUID(attributes[SESSION])
        except (ValueError, KeyError, TypeError):
            return None
