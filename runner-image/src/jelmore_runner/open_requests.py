"""The pending requests of a session: asked by the agent or by the gateway, answered, expired or withdrawn.

The first answer counts. A request is resolved exactly once, and its answer is durable before the agent gets it.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from jelmore_protocol.control import EgressAsk, EgressOutcome, PermissionAnswer
from jelmore_protocol.events import EventKind, Pending, WaitingFor
from jelmore_protocol.frames import ErrorCode
from jelmore_runner.errors import RefusedError
from jelmore_runner.journal import Entry, Journal
from jelmore_runner.pending_requests import Question, Waiter, answered, check_modes, egress_question, resolved
from jelmore_runner.request_bounds import CODE, RequestBounds
from jelmore_runner.state import Asked, Fact, Resolved


class OpenRequests:
    """Owned by a conversation. `apply` journals the entry of a fact and returns its seq."""

    def __init__(
        self,
        journal: Journal,
        resolved: dict[str, str],
        apply: Callable[[Fact, Entry], int],
    ) -> None:
        self.answer_within_s = 0.0  # seconds after which a request of the agent is denied; 0: never
        self.permission_modes: list[str] | None = None  # the modes that an answer may set; None: all
        self.resolved = resolved  # by whom each request was answered; empty: withdrawn
        self._journal = journal
        self._apply = apply
        self._waiters: dict[str, Waiter] = {}
        self._bounds = RequestBounds()

    async def ask(self, question: Question) -> PermissionAnswer:
        """Journal a request, wait for the first answer, and return it once it is durable.

        With `answer_within_s`, it is denied when nobody answers in time. One too many is denied at once, unasked.
        Cancelled when Claude Code withdraws it.
        """
        loop, within_s = asyncio.get_running_loop(), self.answer_within_s
        pending = question.pending(datetime.now(UTC) + timedelta(seconds=within_s) if within_s else None)
        why = self._bounds.refusal(len(self._waiters), len(pending.model_dump_json()), loop.time())
        if why is not None:
            if (text := self._bounds.report(why, loop.time())) is not None:
                self._journal.put((EventKind.ERROR, {"code": CODE, "message": text}))
            return PermissionAnswer(decision="deny", message=f"Nobody was asked: {why}.")
        request_id = pending.request_id
        waiter = self._open(question, pending)
        timer = loop.call_later(within_s, self._expire, request_id) if within_s else None
        try:
            answer, seq = await waiter.answered
            await self._journal.durable(seq)
        except asyncio.CancelledError:
            if request_id in self._waiters:
                self._apply(Resolved(request_id), self._withdraw(request_id))
            raise
        finally:
            if timer is not None:
                timer.cancel()
        return answer

    async def answer(self, request_id: str, answer: PermissionAnswer) -> int:
        """Answer a pending request of the agent; return the event's seq once durable. Raises RefusedError.

        A connection is not decided here: what comes out of a sandbox must not decide what it may reach.
        """
        waiter = self._waiter(request_id)
        if waiter.question.kind is WaitingFor.EGRESS:
            message = "answer it at POST /api/v1/sessions/{id}/permissions/{request_id}: the gateway has to know"
            raise RefusedError(ErrorCode.FORBIDDEN, message)
        waiter.question.check(answer)
        updates = waiter.question.updates(answer)
        check_modes(updates, self.permission_modes)
        seq = self._resolve(request_id, answer, answered(request_id, answer, updates))
        await self._journal.settled(seq)
        return seq

    async def ask_egress(self, asked: EgressAsk) -> int:
        """Journal that a connection waits for a person; return the newest seq once durable. May run twice.

        Raises RefusedError: `conflict` when it was resolved.
        """
        if asked.id in self.resolved:
            self._waiter(asked.id)
        seq = self._journal.last
        if asked.id not in self._waiters:
            question = egress_question(asked)
            self._open(question, question.pending(asked.expires_at, request_id=asked.id))
            seq = self._journal.last
        await self._journal.settled(seq)
        return seq

    async def settle_egress(self, request_id: str, outcome: EgressOutcome) -> int:
        """Journal what was decided about a connection; return the event's seq once durable. Raises RefusedError."""
        self._waiter(request_id)
        given = outcome.model_dump(mode="json", exclude_defaults=True, include={"remember", "message", "cause"})
        entry = resolved(request_id, outcome.decision, outcome.by, **given)
        seq = self._resolve(request_id, PermissionAnswer(decision="deny", by=outcome.by), entry)
        await self._journal.settled(seq)
        return seq

    def withdraw_all(self) -> list[Entry]:
        """Withdraw every request, because the agent's process is gone; return the entries to journal."""
        return [self._withdraw(request_id) for request_id in list(self._waiters)]

    def _open(self, question: Question, pending: Pending) -> Waiter:
        waiter = Waiter(question, asyncio.get_running_loop().create_future())
        self._waiters[pending.request_id] = waiter
        event = EventKind.QUESTION if question.kind is WaitingFor.QUESTION else EventKind.PERMISSION_REQUESTED
        self._apply(Asked(pending.request_id, question.kind), (event, pending.model_dump(mode="json")))
        return waiter

    def _waiter(self, request_id: str) -> Waiter:
        """Return a request that is pending. Raises RefusedError."""
        waiter = self._waiters.get(request_id)
        if waiter is None:
            by = self.resolved.get(request_id)
            if by is None:
                raise RefusedError(ErrorCode.UNKNOWN_REQUEST, "there is no such request")
            raise RefusedError(ErrorCode.CONFLICT, f"{by} has answered it" if by else "it was withdrawn or has expired")
        return waiter

    def _resolve(self, request_id: str, answer: PermissionAnswer, entry: Entry) -> int:
        """Journal the answer of a pending request, hand it to the agent, and return the event's seq."""
        waiter = self._waiters.pop(request_id)
        self.resolved[request_id] = answer.by
        seq = self._apply(Resolved(request_id), entry)
        if not waiter.answered.done():
            waiter.answered.set_result((answer, seq))
        return seq

    def _expire(self, request_id: str) -> None:
        if request_id in self._waiters:
            message = f"Nobody answered within {self.answer_within_s:g} seconds."
            entry = resolved(request_id, "deny", "", message=message, cause="expired")
            self._resolve(request_id, PermissionAnswer(decision="deny", message=message), entry)

    def _withdraw(self, request_id: str) -> Entry:
        waiter = self._waiters.pop(request_id)
        waiter.answered.cancel()
        self.resolved[request_id] = ""
        return resolved(request_id, "cancelled", "")
