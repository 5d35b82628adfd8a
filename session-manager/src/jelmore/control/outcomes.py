"""What an accepted input leads to: a record that shows it, the result of its turn, or a prompt that holds it up."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError

from jelmore.control.cache import RecordCache
from jelmore.control.streams import Streams
from jelmore.control.watchers import Watchers
from jelmore.session.errors import DependencyError, UnknownSessionError
from jelmore.session.output import Output, parse
from jelmore.session.record import Session
from jelmore_protocol.events import Pending

_REFLECT_S: Final = 2.0
_REFLECT_LOOK_S: Final = 0.1  # between looks at what another manager stores
_ASKING: Final = frozenset({"permission_requested", "question"})


class Outcomes:
    """Waits, with a deadline, for what follows an input or an answer."""

    def __init__(self, streams: Streams, watchers: Watchers, cache: RecordCache) -> None:
        self._streams = streams
        self._watchers = watchers
        self._cache = cache

    async def reflected(self, session_id: UUID, seq: int) -> Session | None:
        """Return the record once it holds the output up to `seq`, so that the next read shows what was just done.

        None when that takes longer than two seconds or the database is away: what was accepted stays accepted.
        """
        try:
            async with asyncio.timeout(_REFLECT_S):
                while True:
                    session = await self._watchers.until(
                        session_id, lambda s: s.output_seq >= seq or s.ended, _REFLECT_LOOK_S
                    )
                    if session.output_seq >= seq or session.ended:
                        await self._cache.saved(session)  # another manager may have stored it, and not cached it yet
                        return session
        except (TimeoutError, DependencyError, UnknownSessionError):
            return None

    async def outcome(
        self, session: Session, input_id: str, seq: int, wait_s: float
    ) -> Mapping[str, Any] | Pending | None:
        """Return the result message of the turn that took the input in, or the prompt that holds the session up.

        None when the turn lasts longer than `wait_s`, and when its end cannot be read any more: the input is accepted,
        and a client that is answered with a failure sends it again.
        """
        reflected = await self.reflected(session.id, seq)
        if reflected is not None and (asked := _prompts(reflected.pending)):
            return asked[0]
        stream = self._streams.follow(session, seq, certain=True)
        try:
            async with asyncio.timeout(wait_s):
                async for item in stream:
                    output = parse(item.text) if item.kind == "event" else None
                    if output is None:
                        continue
                    if output.kind in _ASKING and (asked := _prompts([output.data])):
                        return asked[0]
                    if _ends(output, input_id):
                        message = output.data.get("message")
                        return message if isinstance(message, dict) else output.data
        except (TimeoutError, DependencyError):
            return None
        finally:
            await stream.aclose()  # type: ignore[attr-defined]  # an async generator, typed by what readers need
        return None


def _ends(output: Output, input_id: str) -> bool:
    if output.kind == "interrupted":
        return output.data.get("input_id") == input_id
    if output.kind != "message" or '"result"' not in output.text:  # most lines are not parsed
        return False
    data = output.data
    message = data.get("message")
    return isinstance(message, dict) and message.get("type") == "result" and data.get("input_id") == input_id


def _prompts(pending: Sequence[Mapping[str, Any]]) -> list[Pending]:
    """Return the prompts that can be shown; an older runner's may lack what is needed for that."""
    found = []
    for each in pending:
        with suppress(ValidationError):
            found.append(Pending.model_validate(each))
    return found
