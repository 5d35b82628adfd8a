"""Takes sessions back to before a prompt, and finds the turn that somebody means.

The runner does all of it, because it alone knows whether a turn runs; the record of the session stays as it is.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from jelmore.control.ports import Ports
from jelmore.control.requests import Caller
from jelmore.control.sessions import SessionQueries
from jelmore.control.sessions.runner_calls import RunnerCalls
from jelmore.ports import OutputStore
from jelmore.session.errors import ConflictError, InvalidRequestError, NotFoundError, RefusedError, UnknownRequestError
from jelmore.session.output import Output
from jelmore.session.record import Session
from jelmore.session.states import SessionStatus
from jelmore_protocol.rewinding import RewindRequest

_INPUT: Final = ("input",)
_PAGE: Final = 1000
_MAX_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class RewindWanted:
    """What is taken back to before the prompt whose output is `to_seq`."""

    to_seq: int
    files: bool = True
    conversation: bool = True


class Rewinds:
    """Rewinds of sessions, and the seqs of their prompts."""

    def __init__(self, ports: Ports, outputs: OutputStore, runners: RunnerCalls, queries: SessionQueries) -> None:
        self._ports = ports
        self._outputs = outputs
        self._runners = runners
        self._queries = queries

    async def rewind(self, caller: Caller, session_id: UUID, wanted: RewindWanted) -> int:
        """Take a session back to before a prompt; return the seq of the output that records it. May run twice.

        A paused or hibernated session is resumed for it. Raises InvalidRequestError when `to_seq` is no prompt,
        ConflictError while a turn runs or inputs wait, or without what is needed; then nothing has changed.
        """
        caller.check_may_write()
        session = await self._queries.get(caller, session_id)
        if not wanted.files and not wanted.conversation:
            raise InvalidRequestError("files: and `conversation` are both false, so there is nothing to take back")
        input_id = await self._input_at(session, wanted.to_seq)
        if session.status is SessionStatus.ACTIVE or session.pending:
            raise ConflictError("a turn runs or an answer is awaited; interrupt it first")
        session = await self._runners.awake(caller, session_id)
        if session.pending_inputs:  # which the runner has refused, or does not have yet
            raise ConflictError(f"{len(session.pending_inputs)} inputs wait; cancel them first")
        asked = RewindRequest(
            to_seq=wanted.to_seq,
            input_id=input_id,
            files=wanted.files,
            conversation=wanted.conversation,
            by=caller.subject,
        )
        try:
            return (await self._runners.call(session, lambda at: self._ports.runners.rewind(at, asked))).seq
        except (RefusedError, UnknownRequestError):
            raise ConflictError(
                "its sandbox is of an earlier image, which cannot rewind; restart the session"
            ) from None

    async def seq_of(self, caller: Caller, session_id: UUID, turn: str) -> int:
        """Return the seq of the prompt that `turn` names: by its seq, or by its input id. Raises NotFoundError."""
        session = await self._queries.get(caller, session_id)
        if turn.isascii() and turn.isdecimal():
            seq = int(turn) if len(turn) <= _MAX_DIGITS else 0
            if seq and await self._input(session_id, seq) is not None:
                return seq
            raise NotFoundError(f"turn: output {turn[:_MAX_DIGITS]} is no prompt{_of_which(session)}")
        after = 0
        while page := await self._outputs.output(session_id, after, _PAGE, _INPUT, max_bytes=4 * 2**20):
            for output in page:
                if output.data.get("id") == turn:
                    return output.seq
            after = page[-1].seq
        raise NotFoundError(f"turn: the session has no input {turn!r}{_of_which(session)}")

    async def first_turn(self, session_id: UUID) -> int:
        """Return the seq of the first prompt of a session. Raises ConflictError before there is one."""
        page = await self._outputs.output(session_id, 0, 1, _INPUT)
        if not page:
            raise ConflictError("the session has no start to compare with: it had no repository, and no turn yet")
        return page[0].seq

    async def _input_at(self, session: Session, seq: int) -> str:
        found = await self._input(session.id, seq)
        if found is None:
            raise InvalidRequestError(
                f"to_seq: output {seq} is no prompt; give the seq of an output of the kind `input`{_of_which(session)}"
            )
        return str(found.data.get("id"))

    async def _input(self, session_id: UUID, seq: int) -> Output | None:
        page = await self._outputs.output(session_id, seq - 1, 1, _INPUT)
        return page[0] if page and page[0].seq == seq else None


def _of_which(session: Session) -> str:
    """Return what to add to an error about a turn that a fork does not have."""
    origin = session.spec.forked_from
    if not origin:
        return ""
    return f"; this is a fork, with turns of its own: those before it are turns of session {origin.get('session_id')}"
