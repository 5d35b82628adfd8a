"""The calls on inputs that wait for the agent: list, change, cancel.

An input that no runner has is in the session's record, and is changed there. Once one may have it, only that runner can
say whether its agent has it already.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from jelmore.control.ports import Ports
from jelmore.control.requests import Caller
from jelmore.control.sessions import SessionQueries
from jelmore.control.sessions.runner_calls import RunnerCalls, with_inputs
from jelmore.session.errors import DependencyError, InvalidRequestError, TooLargeError
from jelmore.session.events import EventDraft, EventType
from jelmore.session.pending_inputs import MAX_PENDING_BYTES, PendingInputs, changed, of_id, without
from jelmore.session.record import Session
from jelmore.session.states import Presence, WaitingFor
from jelmore.session.waiting_inputs import KINDS, WaitingInput, WaitingInputs
from jelmore_protocol import MAX_INPUT_BYTES
from jelmore_protocol.bounds import MAX_QUEUED_INPUTS
from jelmore_protocol.control import CancelInput, ChangeInput
from jelmore_protocol.listing import listed_texts

_PAGE: Final = 1000


class QueueCalls:
    """Inputs that wait. Without a runner they are read from the stored output; a change resumes the session."""

    def __init__(self, ports: Ports, runners: RunnerCalls, queries: SessionQueries) -> None:
        self._ports = ports
        self._runners = runners
        self._queries = queries

    async def waiting(self, caller: Caller, session_id: UUID) -> Sequence[WaitingInput]:
        """Return the inputs that wait for the agent, in order. Does not resume the session."""
        session = caller.sees(await self._ports.store.load(session_id))
        listed = await self._listed(caller, session)
        ids = {each.id for each in listed}  # a runner may have journaled what is not stored yet
        pending = [each for each in session.pending_inputs if each.id not in ids]
        return [*listed, *(WaitingInput(each.id, each.input, each.by, each.after) for each in pending)]

    async def _listed(self, caller: Caller, session: Session) -> Sequence[WaitingInput]:
        """Return the waiting inputs that a runner has accepted."""
        if session.ended or session.presence is not Presence.AWAKE or session.container_id is None:
            return await self._from_output(caller, session)
        try:
            queue = await self._ports.runners.queue(await self._ports.control_of(session))
        except DependencyError:  # it is stopping, or being replaced
            return await self._from_output(caller, session)
        return [WaitingInput(each.id, each.input, each.by, each.seq) for each in queue.inputs]

    async def change(self, caller: Caller, session_id: UUID, input_id: str, text: str) -> int:
        """Give a waiting input another text; return the seq of the output that records it.

        Raises UnknownRequestError, ConflictError when the agent has it already, InvalidRequestError, TooLargeError.
        """
        caller.check_may_write()
        if not text.strip():
            raise InvalidRequestError("input: must not be empty")
        if len(text.encode()) > MAX_INPUT_BYTES:
            raise TooLargeError(f"input: is larger than {MAX_INPUT_BYTES} bytes")
        edited = await self._edited(caller, session_id, input_id, lambda pending: changed(pending, input_id, text))
        if edited is not None:
            return edited.output_seq
        session = await self._runners.awake(caller, session_id)
        change = ChangeInput(id=input_id, input=text, by=caller.subject)
        return (await self._runners.call(session, lambda at: self._ports.runners.change_input(at, change))).seq

    async def cancel(self, caller: Caller, session_id: UUID, input_id: str) -> int:
        """Remove a waiting input; return the seq of the output that records it. Raises as `change`."""
        caller.check_may_write()
        edited = await self._edited(caller, session_id, input_id, lambda pending: without(pending, input_id))
        if edited is not None:
            return edited.output_seq
        session = await self._runners.awake(caller, session_id)
        cancel = CancelInput(id=input_id, by=caller.subject)
        return (await self._runners.call(session, lambda at: self._ports.runners.cancel_input(at, cancel))).seq

    async def _edited(
        self, caller: Caller, session_id: UUID, input_id: str, edit: Callable[[PendingInputs], PendingInputs | None]
    ) -> Session | None:
        """Change the pending inputs of a session; return the session, None when no such input is only in its record.

        Raises TooLargeError when they would not fit, which is when `edit` returns None.
        """
        caller.sees(await self._ports.store.load(session_id))
        is_pending = False

        def change(session: Session) -> Session:
            nonlocal is_pending
            known = of_id(session.pending_inputs, input_id)
            is_pending = known is not None and not known.handed_over
            if not is_pending:
                return session
            edited = edit(session.pending_inputs)
            if edited is None:
                raise TooLargeError(
                    f"input: is too large until the session is awake; up to {MAX_PENDING_BYTES} bytes may wait"
                )
            return with_inputs(session, edited)

        # The output records a change that a runner made; of this one, the events say it to who follows the session.
        noted = [EventDraft(EventType.SESSION_CHANGED, {"fields": ["pending_inputs"]})]
        session = await self._runners.change(session_id, change, noted)
        return session if is_pending else None

    async def _from_output(self, caller: Caller, session: Session) -> Sequence[WaitingInput]:
        """Return the queue of a session without a running runner. One that waits for a prompt has none."""
        if not session.ended and session.waiting_for is WaitingFor.PROMPT:
            return []
        waiting, after, more = WaitingInputs(MAX_QUEUED_INPUTS), 0, True
        while more:
            page = await self._queries.output(caller, session.id, after, _PAGE, KINDS)
            waiting.feed(page)
            after, more = (page[-1].seq if page else after), page.more
        inputs = waiting.listed()
        texts = listed_texts(each.input for each in inputs)
        return [replace(each, input=text) for each, text in zip(inputs, texts, strict=True)]
