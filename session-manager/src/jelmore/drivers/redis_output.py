"""The hot tail of every session's output in Redis: stream `session:{id}:output`, ids `{seq}-0`, the line in field `t`.

A cache. What is missing here is read from PostgreSQL, so the tail may be short, but it must not have a hole.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final
from uuid import UUID

from jelmore.drivers.redis_calls import (
    FIELD,
    attendance_key,
    client_for_calls,
    client_for_waiting,
    deadline,
    live_channel,
    output_key,
    output_keys,
)
from jelmore.drivers.redis_tail import TailWriter
from jelmore.drivers.redis_watch import Watch
from jelmore.ports import LiveLine, StoredOutput, WatchList
from jelmore.session.output import Output, whole_output
from jelmore.session.plain_text import clean_text

_CHECK_KEY: Final = "jelmore:check"
_CHECK_KEY_S: Final = 60


class RedisOutput:
    """The `LiveOutput` port. Keeps about `cap` lines and at most about `cap_bytes` bytes per session."""

    def __init__(
        self,
        url: str,
        *,
        cap: int = 10_000,
        cap_bytes: int = 8 * 1024 * 1024,
        connections: int = 20,
        timeout_s: float = 5,
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._client: Any = client_for_calls(url, connections=connections, timeout_s=timeout_s)
        self._tails = TailWriter(self._client, cap, cap_bytes, timeout_s)

    async def check(self) -> None:
        """Return when Redis accepts a write. A ping is not enough: a full server answers it. Raises DependencyError."""
        async with deadline(self._timeout_s):
            await self._client.set(_CHECK_KEY, "", ex=_CHECK_KEY_S)

    async def answers(self) -> None:
        """Return when Redis answers a ping. Raises DependencyError."""
        async with deadline(self._timeout_s):
            await self._client.ping()

    async def append(self, session_id: UUID, outputs: Sequence[Output], stored: StoredOutput | None = None) -> None:
        """Add output under its own seq, without a hole; see the port. May run twice."""
        await self._tails.append(session_id, outputs, stored)

    async def publish(self, session_id: UUID, text: str) -> None:
        """Send a frame to the current readers. It is not stored."""
        async with deadline(self._timeout_s):
            await self._client.publish(live_channel(session_id), clean_text(text))

    async def tail(self, session_id: UUID, after: int, limit: int) -> Sequence[Output] | None:
        """Return the output after seq `after` without a hole, None when the stream does not continue from there."""
        key = output_key(session_id)
        async with deadline(self._timeout_s):
            calls = self._client.pipeline(transaction=True)
            calls.xrange(key, min=f"{after + 1}-0", count=limit)
            calls.xrevrange(key, count=1)
            entries, newest = await calls.execute()
        if not entries:
            return [] if newest and _seq(newest[0][0]) == after else None
        outputs: list[Output] = []
        for entry_id, fields in entries:
            output = whole_output(after + 1 + len(outputs), fields.get(FIELD, ""))
            if output is None or _seq(entry_id) != output.seq:
                break  # lines are lost or damaged here; what follows is for readers that got them from PostgreSQL
            outputs.append(output)
        return outputs or None

    def watch(self, wanted: WatchList) -> AsyncGenerator[LiveLine]:
        """Yield lines and frames of all watched sessions, over two connections. Raises DependencyError when one breaks.

        The lines of a session come in order. Numbers are missing when Redis lost lines. A change of the list takes
        effect at once. Close the generator (`aclose`) when done.
        """
        waiting = client_for_waiting(self._url, timeout_s=self._timeout_s)
        return Watch(self._client, waiting, wanted, self._timeout_s).lines()

    async def expire(self, session_id: UUID, seconds: int) -> None:
        """Let the session's keys expire after `seconds`."""
        async with deadline(self._timeout_s):
            await self._client.expire(output_key(session_id), seconds)

    async def forget(self, session_id: UUID) -> None:
        """Remove the session's keys now."""
        async with deadline(self._timeout_s):
            await self._client.delete(output_key(session_id), attendance_key(session_id))

    async def known(self) -> Sequence[UUID]:
        """Return the sessions that have keys here."""
        found: set[UUID] = set()
        async for keys in output_keys(self._client, self._timeout_s):
            for key in keys:
                try:
                    found.add(UUID(key.split(":")[1]))
                except ValueError:
                    continue  # not ours
        return sorted(found)

    async def close(self) -> None:
        """Close the connections."""
        async with deadline(self._timeout_s):
            await self._client.aclose()


def _seq(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])
