"""Writes the hot tail of sessions' output: always the newest lines without a hole, bounded in lines and in bytes.

Redis refuses writes when its memory is full, the one that would trim included. So each tail is bounded by what it
costs there, and a refusal makes room: tails are a cache, and readers of one that is gone read PostgreSQL.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from jelmore.drivers.plain_text import clean_text, storable_text
from jelmore.drivers.redis_calls import FIELD, FullError, deadline, output_key, output_keys
from jelmore.session.reading import Output

# The first line makes a server without memory refuse the script as a whole: after a deletion, a script without it may
# write beyond the limit. Entries that are there already are skipped, so it may run any number of times.
_APPEND: Final = f"""#!lua
local key, most_lines, most_bytes, first = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
local top = newest and tonumber(string.match(newest[1], '^%d+')) or 0
if top < first - 1 then
    redis.call('DEL', key)
end
for i = 3, #ARGV, 2 do
    if tonumber(ARGV[i]) > top then redis.call('XADD', key, ARGV[i] .. '-0', '{FIELD}', ARGV[i + 1]) end
end
redis.call('PERSIST', key)
redis.call('XTRIM', key, 'MAXLEN', '~', most_lines)
local bytes, lines = redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0), redis.call('XLEN', key)
while bytes > most_bytes and lines > 1 do
    lines = math.max(1, math.floor(lines * 0.9))
    redis.call('XTRIM', key, 'MAXLEN', lines)
    bytes = redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0)
end
"""
"""Adds the lines that the stream has not, then trims it. Lines that do not continue the stream replace it: it never
has a hole. PERSIST is for a session that was resumed: it must not lose its tail to an earlier end. Trimming takes a
little more than it must, to be rarer."""

_NO_ROOM_S: Final = 1.0
_TAILS_OF_ROOM: Final = 4


class TailWriter:
    """Keeps about `most_lines` lines a session, and no more than `most_bytes` unless one line alone takes them."""

    def __init__(self, client: Any, most_lines: int, most_bytes: int, timeout_s: float) -> None:
        self._client = client
        self._most_lines = most_lines
        self._most_bytes = most_bytes
        self._timeout_s = timeout_s
        self._script = client.register_script(_APPEND)
        self._making_room = asyncio.Lock()
        self._no_room_until = 0.0

    async def append(self, session_id: UUID, outputs: Sequence[Output]) -> None:
        """Add output; what is there already is skipped. Raises DependencyError, also when no room could be made."""
        if not outputs:
            return
        kept = self._newest(outputs)
        try:
            await self._run(session_id, kept)
        except FullError:
            await self._make_room()
            await self._run(session_id, kept)

    def _newest(self, outputs: Sequence[Output]) -> deque[Output]:
        """Return the newest of `outputs` that fit, one at least."""
        kept: deque[Output] = deque()
        room_bytes = self._most_bytes
        for output in reversed(outputs):
            room_bytes -= len(output.text)
            if kept and (room_bytes < 0 or len(kept) == self._most_lines):
                break
            kept.appendleft(output)
        return kept

    async def _run(self, session_id: UUID, outputs: Sequence[Output]) -> None:
        values: list[str | int] = [self._most_lines, self._most_bytes]
        for output in outputs:
            text = output.text if storable_text(output.text) else clean_text(output.text)  # as PostgreSQL keeps it
            values += [output.seq, text]
        async with deadline(self._timeout_s):
            await self._script(keys=[output_key(session_id)], args=values)

    async def _make_room(self) -> None:
        """Remove the largest tails, whosesoever they are: that of an ended session would stay as it is for long.

        It looks at every tail, so where there was little to remove it waits a second before it looks again.
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
                calls.xtrim(key, maxlen=0, approximate=False)  # frees at once; a deletion alone may do so later
                calls.delete(key)
                async with deadline(self._timeout_s):
                    await calls.execute()
                missing_bytes -= sizes[key]
            self._no_room_until = time.monotonic() + _NO_ROOM_S

    async def _sizes(self) -> dict[str, int]:
        """Return about how many bytes each tail takes."""
        sizes: dict[str, int] = {}
        async for keys in output_keys(self._client, self._timeout_s):
            calls = self._client.pipeline(transaction=False)
            for key in keys:
                calls.memory_usage(key)
            async with deadline(self._timeout_s):
                sizes.update(zip(keys, (int(size or 0) for size in await calls.execute()), strict=True))
        return sizes
