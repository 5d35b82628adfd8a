"""Writes the hot tail of sessions' output: always the newest lines without a hole, bounded in lines and in bytes.

Redis refuses every write when its memory is full, including one that trims. So each tail is limited by the memory it
takes there, and a refused write deletes tails to free memory. Tails are a cache: without one, readers use PostgreSQL.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from jelmore.drivers.redis_calls import FIELD, FullError, deadline, output_key, output_keys
from jelmore.ports import StoredOutput
from jelmore.session.errors import DependencyError
from jelmore.session.output import Output
from jelmore.session.plain_text import clean_text, storable_text

# The first line makes a server without memory refuse the whole script: without it, a script that has deleted something
# may write beyond the limit. Entries that exist are skipped, so the script may run twice.
_APPEND: Final = f"""#!lua
local key, most_lines, most_bytes, first = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
local top = newest and tonumber(string.match(newest[1], '^%d+')) or 0
if top < first - 1 then
    if ARGV[3] == '0' then return top end
    redis.call('DEL', key)
end
for i = 4, #ARGV, 2 do
    if tonumber(ARGV[i]) > top then redis.call('XADD', key, ARGV[i] .. '-0', '{FIELD}', ARGV[i + 1]) end
end
redis.call('PERSIST', key)
redis.call('XTRIM', key, 'MAXLEN', '~', most_lines)
if most_bytes == 0 then return -1 end
local bytes, lines = redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0), redis.call('XLEN', key)
while bytes > most_bytes and lines > 1 do
    lines = math.max(1, math.floor(lines * 0.9))
    redis.call('XTRIM', key, 'MAXLEN', lines)
    bytes = redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0)
end
return -1
"""
"""Adds the lines that are missing from the stream, then trims it, and returns -1. Never leaves a hole: lines that do
not continue the stream replace it if the caller asks for that; otherwise nothing is added and the stream's newest seq
is returned. PERSIST is for a resumed session: its tail must not expire because of an earlier end. Bytes are measured
unless the limit is 0. Trimming removes slightly more than necessary, so that it runs less often."""

_DONE: Final = -1
_MEASURE_EVERY: Final = 16
_MEASURE_PART: Final = 128
"""Measuring takes 0.5 ms, so small additions are measured only sometimes: a tail is at most an eighth too large."""

_NO_ROOM_S: Final = 1.0
_TAILS_OF_ROOM: Final = 4
_TIGHT_S: Final = 60.0
_REFILLS: Final = 4
_FIRST_WINDOW: Final = 16
_LARGEST_WINDOW: Final = 512


class TailWriter:
    """Keeps about `most_lines` lines and at most about `most_bytes` per session; more if a single line is larger."""

    def __init__(self, client: Any, most_lines: int, most_bytes: int, timeout_s: float) -> None:
        self._client = client
        self._most_lines = most_lines
        self._most_bytes = most_bytes
        self._timeout_s = timeout_s
        self._script = client.register_script(_APPEND)
        self._making_room = asyncio.Lock()
        self._refilling = asyncio.Semaphore(_REFILLS)
        self._no_room_until = 0.0
        self._tight_until = 0.0

    async def append(self, session_id: UUID, outputs: Sequence[Output], stored: StoredOutput | None) -> None:
        """Add output; see the port. May run twice. Raises DependencyError, also when no memory could be freed."""
        if not outputs:
            return
        if time.monotonic() < self._tight_until:
            stored = None  # no refill when memory is full: it would evict other tails, which would be refilled in turn
        try:
            await self._add(session_id, outputs, stored)
        except FullError:
            self._tight_until = time.monotonic() + _TIGHT_S
            await self._make_room()
            await self._add(session_id, outputs, None)

    async def _add(self, session_id: UUID, outputs: Sequence[Output], stored: StoredOutput | None) -> None:
        kept = newest(outputs, self._most_lines, self._most_bytes) or outputs[-1:]
        if stored is None or len(kept) < len(outputs):
            await self._run(session_id, kept, start_over=True)
            return
        top = await self._run(session_id, kept, start_over=False)
        if top == _DONE:
            return
        async with self._refilling:
            try:
                older = await self._missing(stored, top, kept)
            except DependencyError:
                older = []  # a shorter tail, still without a hole
            await self._run(session_id, [*older, *kept], start_over=True)

    async def _missing(self, stored: StoredOutput, top: int, kept: Sequence[Output]) -> Sequence[Output]:
        """Return the lines between `top` and `kept`: all of them, or the newest that fit together with `kept`.

        Reads backwards in growing windows, because the size of a line is known only after it is read.
        """
        found = list(kept)
        window = _FIRST_WINDOW
        while (before := found[0].seq) > top + 1 and len(found) < self._most_lines:
            after = max(top, before - 1 - window)
            part = await between(stored, after, before, self._most_bytes)
            fitting = newest([*part, *found], self._most_lines, self._most_bytes)
            if len(fitting) <= len(found):
                break
            found = list(fitting)
            if found[0].seq > after + 1:
                break  # older lines do not fit or do not exist
            window = min(window * 2, _LARGEST_WINDOW)
        return found[: -len(kept)]

    async def _run(self, session_id: UUID, outputs: Sequence[Output], *, start_over: bool) -> int:
        added_bytes = sum(len(output.text) for output in outputs)
        measured = added_bytes > self._most_bytes / _MEASURE_PART or any(
            output.seq % _MEASURE_EVERY == 0 for output in outputs
        )
        values: list[str | int] = [self._most_lines, self._most_bytes if measured else 0, int(start_over)]
        for output in outputs:
            text = output.text if storable_text(output.text) else clean_text(output.text)  # as PostgreSQL stores it
            values += [output.seq, text]
        async with deadline(self._timeout_s):
            return int(await self._script(keys=[output_key(session_id)], args=values))

    async def _make_room(self) -> None:
        """Remove the largest tails of any session. Those of ended sessions count too: they would stay for long.

        It measures every tail, so after removing little it waits a second before the next run.
        """
        async with self._making_room:
            if time.monotonic() < self._no_room_until:
                return
            sizes = await self._sizes()
            missing_bytes = _TAILS_OF_ROOM * self._most_bytes
            for key in sorted(sizes, key=lambda key: sizes[key], reverse=True):
                if missing_bytes <= 0:
                    return
                calls = self._client.pipeline(transaction=True)
                # Trimming frees memory at once; a deletion alone may free it later.
                calls.xtrim(key, maxlen=0, approximate=False)
                calls.delete(key)
                async with deadline(self._timeout_s):
                    await calls.execute()
                missing_bytes -= sizes[key]
            self._no_room_until = time.monotonic() + _NO_ROOM_S

    async def _sizes(self) -> dict[str, int]:
        """Return the approximate size of each tail in bytes."""
        sizes: dict[str, int] = {}
        async for keys in output_keys(self._client, self._timeout_s):
            calls = self._client.pipeline(transaction=False)
            for key in keys:
                calls.memory_usage(key)
            async with deadline(self._timeout_s):
                sizes.update(zip(keys, (int(size or 0) for size in await calls.execute()), strict=True))
        return sizes


def newest(outputs: Sequence[Output], most_lines: int, most_bytes: int) -> Sequence[Output]:
    """Return the newest of `outputs` that fit."""
    count = 0
    for output in reversed(outputs):
        most_bytes -= len(output.text)
        if most_bytes < 0 or count == most_lines:
            break
        count += 1
    return list(outputs)[len(outputs) - count :]


async def between(stored: StoredOutput, after: int, before: int, most_bytes: int) -> Sequence[Output]:
    """Return the stored output between two seqs, or the newest part that fits. Empty when some of it is missing."""
    found: Sequence[Output] = []
    while after < before - 1:
        page = await stored(after, before - 1 - after)
        if not page or [output.seq for output in page] != list(range(after + 1, after + 1 + len(page))):
            return []
        after = page[-1].seq
        found = newest([*found, *page], before, most_bytes)
    return found
