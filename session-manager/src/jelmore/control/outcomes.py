"""Waits for the effects of an input: the record that includes it, the turn's result, or a prompt that blocks it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import ValidationError

from jelmore.control.cache import RecordCache
from jelmore.control.recorded_inputs import recorded_seq
from jelmore.control.streams import Streams
from jelmore.control.watchers import Watchers
from jelmore.ports import Store
from jelmore.session.errors import DependencyError, UnknownSessionError
from jelmore.session.output import Output, has_neutral_facts, parse
from jelmore.session.pending_inputs import of_id
from jelmore.session.record import Session
from jelmore.session.states import WaitingFor
from jelmore_protocol.events import Pending

_REFLECT_S: Final = 2.0
_REFLECT_POLL_S: Final = 0.1  # between reads, as another manager may store the output
_ENDING: Final = frozenset({"turn_ended", "interrupted", "input_cancelled", "message"})
_ASKING: Final = frozenset({"permission_requested", "question"})


class Outcomes:
    """Waits, with a deadline, for the effects of an input or an answer."""

    def __init__(self, store: Store, streams: Streams, watchers: Watchers, cache: RecordCache) -> None:
        self._store = store
        self._streams = streams
        self._watchers = watchers
        self._cache = cache

    async def reflected(self, session_id: UUID, seq: int) -> Session | None:
        """Return the record once it includes the output up to `seq`, so that the next read shows the change.

        Returns None after two seconds, when this process stops, or when the database is unavailable: the input is
        accepted regardless.
        """
        try:
            async with self._watchers.patience(_REFLECT_S):
                while True:
                    session = await self._watchers.until(
                        session_id, lambda s: s.output_seq >= seq or s.ended, _REFLECT_POLL_S
                    )
                    if session.output_seq >= seq or session.ended:
                        await self._cache.saved(session)  # the manager that stored it may not have cached it yet
                        return session
        except (TimeoutError, DependencyError, UnknownSessionError):
            return None

    async def outcome(
        self, session: Session, input_id: str, seq: int, wait_s: float
    ) -> Mapping[str, Any] | Pending | Literal[WaitingFor.BUDGET] | None:
        """Return the result of the input's turn, or what blocks the session: a permission, a question or a budget.

        Returns None when the turn lasts longer than `wait_s` or its end cannot be read. That is no error: the input is
        accepted, and a client that receives an error would send it again.
        """
        if of_id(session.pending_inputs, input_id) is None:
            return await self._outcome(session, input_id, seq, wait_s)
        try:
            async with self._watchers.patience(wait_s):
                left = await self._watchers.until(
                    session.id, lambda s: s.ended or of_id(s.pending_inputs, input_id) is None, wait_s
                )
                if of_id(left.pending_inputs, input_id) is not None:
                    return None
                recorded = await recorded_seq(self._store, session.id, input_id, seq)
                if recorded is None:  # it left the record, and no runner has it
                    return {"type": "cancelled", "input_id": input_id, "by": None}
                return await self._outcome(session, input_id, recorded, wait_s)
        except (TimeoutError, DependencyError, UnknownSessionError):
            return None

    async def _outcome(
        self, session: Session, input_id: str, seq: int, wait_s: float
    ) -> Mapping[str, Any] | Pending | Literal[WaitingFor.BUDGET] | None:
        reflected = await self.reflected(session.id, seq)
        if reflected is not None and (asked := _prompts(reflected.pending)):
            return asked[0]
        if reflected is not None and reflected.waiting_for is WaitingFor.BUDGET:
            return WaitingFor.BUDGET
        stream = self._streams.follow(session, seq, certain=True)
        try:
            async with self._watchers.patience(wait_s):
                async for item in stream:
                    output = parse(item.text) if item.kind == "event" else None
                    if output is None:
                        continue
                    if output.kind in _ASKING and (asked := _prompts([output.data])):
                        return asked[0]
                    if output.kind == "state" and output.data.get("waiting_for") == WaitingFor.BUDGET:
                        return WaitingFor.BUDGET
                    if (result := _result(output, input_id)) is not None:
                        return result
        except (TimeoutError, DependencyError):
            return None
        finally:
            await stream.aclose()  # type: ignore[attr-defined]  # an async generator, typed as its readers use it
        return None


def _result(output: Output, input_id: str) -> Mapping[str, Any] | None:
    """Return the result in the output that ends the input's turn, else None."""
    if output.kind not in _ENDING or (output.kind == "message" and '"result"' not in output.text):
        return None  # most lines are not parsed
    if output.kind == "message" and has_neutral_facts(output):
        return None
    data = output.data
    if output.kind == "input_cancelled" and data.get("id") == input_id:
        return {"type": "cancelled", "input_id": input_id, "by": data.get("by")}
    if data.get("input_id") != input_id:
        return None
    if output.kind == "turn_ended":
        names = {"type": "result", "is_error": data.get("outcome") == "failed", "result": data.get("text")}
        return {**names, **data}
    if output.kind == "interrupted":
        return data
    message = data.get("message")  # of an older runner
    return message if isinstance(message, dict) and message.get("type") == "result" else None


def _prompts(pending: Sequence[Mapping[str, Any]]) -> list[Pending]:
    """Return the prompts that have all fields; those of older runners may lack some."""
    found = []
    for each in pending:
        with suppress(ValidationError):
            found.append(Pending.model_validate(each))
    return found
