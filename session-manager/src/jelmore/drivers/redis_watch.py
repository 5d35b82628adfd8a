"""Watches the live output of many sessions with one blocking read of all streams and one subscription.

With a connection per reader, the fiftieth reader would find no connection left. Here one read serves thousands of
streams.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Coroutine
from functools import partial
from typing import Any, Final
from uuid import UUID

from jelmore.drivers.redis_calls import FIELD, FullError, deadline, live_channel, output_key
from jelmore.ports import LiveLine, WatchList
from jelmore.session.output import whole_output

_WAITING_LINES: Final = 1_000
_LINES_PER_STREAM: Final = 200
_BLOCK_S: Final = 15.0
_WAKE_KEY_S: Final = 3600


class Watch:
    """Reads until it is closed or a connection breaks. `client` is for calls, `waiting` for blocking reads."""

    def __init__(self, client: Any, waiting: Any, wanted: WatchList, timeout_s: float) -> None:
        self._client = client
        self._waiting = waiting
        self._wanted = wanted
        self._timeout_s = timeout_s
        self._lines: asyncio.Queue[LiveLine | Exception] = asyncio.Queue(_WAITING_LINES)
        # The read includes a stream of this watch's own: an entry in it ends the wait, even if added before the read.
        self._wake_key = f"jelmore:wake:{secrets.token_hex(8)}"
        self._wakes = 0
        self._read: dict[UUID, int] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._subscription = waiting.pubsub(ignore_subscribe_messages=True)

    async def lines(self) -> AsyncGenerator[LiveLine]:
        """Yield lines. Reading waits for a slow consumer. Raises DependencyError when a connection breaks."""
        try:
            async with deadline(self._timeout_s):
                await self._subscription.subscribe(self._wake_key)  # a subscription needs at least one channel
            self._begin(self._read_streams(), "streams")
            self._begin(self._read_live(), "live")
            self._begin(self._follow_list(), "list")
            while True:
                line = await self._lines.get()
                if isinstance(line, Exception):
                    raise line
                yield line
        finally:
            await asyncio.shield(self._end())

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks[name] = asyncio.create_task(self._guarded(work), name=f"redis-watch-{name}")

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` and pass the error that ends it to the consumer."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - raised again where the lines are read
            await self._lines.put(error)

    async def _end(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for last in (self._subscription.aclose, self._waiting.aclose, partial(self._client.delete, self._wake_key)):
            with contextlib.suppress(Exception):  # the connection may be the broken part; the key expires by itself
                async with deadline(self._timeout_s):
                    await last()

    async def _follow_list(self) -> None:
        """On each change of the list, restart the read and subscribe to new sessions."""
        subscribed: set[UUID] = set()
        while True:
            wanted = set(self._wanted.wanted())
            async with deadline(self._timeout_s):
                if added := wanted - subscribed:
                    await self._subscription.subscribe(*map(live_channel, added))
                if removed := subscribed - wanted:
                    await self._subscription.unsubscribe(*map(live_channel, removed))
                subscribed = wanted
            await self._wake()
            await self._wanted.changed()

    async def _wake(self) -> None:
        """End the wait of the current read."""
        self._wakes += 1
        calls = self._client.pipeline(transaction=True)
        calls.xadd(self._wake_key, {"n": self._wakes}, maxlen=1)
        calls.expire(self._wake_key, _WAKE_KEY_S)
        try:
            async with deadline(self._timeout_s):
                await calls.execute()
        except FullError:
            # Redis refuses writes, so restart the read on a new connection: slower, but not refused.
            self._tasks["streams"].cancel()
            await asyncio.wait([self._tasks["streams"]])
            self._begin(self._read_streams(), "streams")

    async def _read_streams(self) -> None:
        wake_cursor = "0-0"
        while True:
            self._catch_up()
            keys = {output_key(session_id): session_id for session_id in self._read}
            ids = {key: f"{self._read[session_id]}-0" for key, session_id in keys.items()}
            async with deadline(_BLOCK_S + self._timeout_s):
                found = await self._waiting.xread(
                    {self._wake_key: wake_cursor, **ids}, count=_LINES_PER_STREAM, block=int(_BLOCK_S * 1000)
                )
            for key, entries in found or []:
                if key == self._wake_key:
                    wake_cursor = entries[-1][0]
                    continue
                for entry_id, fields in entries:
                    seq = int(entry_id.partition("-")[0])
                    whole = whole_output(seq, fields.get(FIELD, ""))
                    # For a line that cannot be parsed, only report that there is output; PostgreSQL has the whole line.
                    line = LiveLine(keys[key], seq, whole.text) if whole else LiveLine(keys[key], None, "")
                    await self._lines.put(line)
                    self._read[keys[key]] = seq  # after the put: if it is cancelled, the line stays unread

    def _catch_up(self) -> None:
        """Adopt the current list. For a session that is already read further, keep our own position."""
        wanted = self._wanted.wanted()
        self._read = {
            session_id: max(seq, self._read.get(session_id, 0)) for session_id, seq in wanted.items() if seq is not None
        }

    async def _read_live(self) -> None:
        while True:
            async with deadline(_BLOCK_S + self._timeout_s):
                message = await self._subscription.get_message(timeout=_BLOCK_S)
            if message and message["type"] == "message" and message["channel"] != self._wake_key:
                session_id = UUID(message["channel"].split(":")[1])
                await self._lines.put(LiveLine(session_id, None, message["data"]))
