"""Refused connections that wait until a person decides.

The gateway holds them, because only it can answer the client. What it holds ends with its process: a manager that finds
another `run` resolves what the sessions still show.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from jelmore_gateway.egress.http_side import GoneError
from jelmore_gateway.egress.policy import Reason, Refusal, Target
from jelmore_gateway.egress.session import EgressSession
from jelmore_gateway.state import now
from jelmore_protocol.gateway import (
    DEFAULT_ASK_S,
    EGRESS_REQUEST,
    EgressDecision,
    HeldCause,
    HeldPage,
    HeldRequest,
)

MAX_HELD: Final = 1000
MAX_HELD_OF_SESSION: Final = 8
LEAVE_S: Final = 30.0
"""A request stays for this long after its last client left: package managers give up early and connect again."""

GRANT_S: Final = 60.0
"""A connection that was allowed once while no client waited may be opened within this time."""

DENIED_S: Final = 300.0
"""What a person denied is refused without another request for this time."""

FORGET_S: Final = 600.0
"""A decided request that no manager deletes is forgotten after this time."""


class UnknownHoldError(Exception):
    """There is no such request of this session."""


class DecidedError(Exception):
    """Somebody has decided about the request, or it waits no longer."""


@dataclass(slots=True, eq=False)
class Hold:
    """One target of a session, and how many connections to it wait."""

    request: HeldRequest
    target: Target
    session: EgressSession
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    due: asyncio.TimerHandle | None = None  # the deadline; once ended, when it is forgotten
    leaving: asyncio.TimerHandle | None = None  # the last client left
    refusal: Refusal | None = None  # once ended: why the connections are refused; None allows them

    def stop_timers(self) -> None:
        """Cancel what is due later."""
        for timer in (self.due, self.leaving):
            if timer is not None:
                timer.cancel()


class Holds:
    """The held requests of all sandboxes, in one event loop. `ask_s` is how long each waits."""

    def __init__(self) -> None:
        self.ask_s = DEFAULT_ASK_S
        self._run = uuid4().hex
        self._revision = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._holds: dict[str, Hold] = {}

    # --- called by the proxy

    async def ask(
        self, session: EgressSession, target: Target, method: str, gone: Callable[[], Coroutine[Any, Any, None]]
    ) -> Refusal | None:
        """Wait for a decision; return why the connection is refused, None when a person allows it.

        `gone` returns when the client leaves; then GoneError is raised.
        """
        if session.take_grant(target):
            return None
        if (denied := session.denied(target)) is not None:
            return denied
        hold = self._held(session, target) or self._hold(session, target, method)
        if isinstance(hold, Refusal):
            return hold
        await self._wait(hold, gone)
        return hold.refusal

    def _held(self, session: EgressSession, target: Target) -> Hold | None:
        for hold in self._of(session):
            if hold.target == target:
                return hold
        return None

    def _of(self, session: EgressSession) -> list[Hold]:
        """Return what waits of a session."""
        return [hold for hold in self._holds.values() if hold.session is session and not hold.ended.is_set()]

    def _hold(self, session: EgressSession, target: Target, method: str) -> Hold | Refusal:
        if len(self._of(session)) >= MAX_HELD_OF_SESSION or len(self._holds) >= MAX_HELD:
            text = f"{target} must be allowed by a person, and too many requests wait for one already; try again later"
            return Refusal(Reason.TOO_MANY_WAITING, text)
        at: datetime = now()
        request = HeldRequest(
            id=f"{EGRESS_REQUEST}{uuid4()}",
            session_id=session.session_id,
            generation=session.generation,
            host=target.host,
            port=target.port,
            method=method[:16],
            at=at,
            expires_at=at + timedelta(seconds=self.ask_s),
        )
        hold = Hold(request, target, session)
        hold.due = asyncio.get_running_loop().call_later(self.ask_s, self._expire, hold)
        self._holds[request.id] = hold
        self._note_change()
        return hold

    async def _wait(self, hold: Hold, gone: Callable[[], Coroutine[Any, Any, None]]) -> None:
        hold.waiting += 1
        if hold.leaving is not None:
            hold.leaving.cancel()
        leaving = asyncio.create_task(gone(), name="egress client leaves")
        ended = asyncio.create_task(hold.ended.wait(), name="egress decision")
        try:
            await asyncio.wait({leaving, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hold.waiting -= 1
            for task in (leaving, ended):
                task.cancel()
            await asyncio.gather(leaving, ended, return_exceptions=True)
            if not hold.waiting and not hold.ended.is_set():
                hold.leaving = asyncio.get_running_loop().call_later(LEAVE_S, self._leave, hold)
        if not hold.ended.is_set():
            raise GoneError("the client left before anybody decided")

    # --- ends of a request

    def _expire(self, hold: Hold) -> None:
        text = f"a person must allow {hold.target}, and nobody did within {self.ask_s:g} seconds; try again later"
        self._end(hold, HeldCause.EXPIRED, Refusal(Reason.NOT_ANSWERED, text))

    def _leave(self, hold: Hold) -> None:
        self._end(hold, HeldCause.WITHDRAWN, Refusal(Reason.NOT_ANSWERED, f"no client waits for {hold.target}"))

    def review(self, session: EgressSession) -> None:
        """End what waits of a session according to its policy, which has changed, or because it is closed."""
        for hold in self._of(session):
            refusal = session.refusal(hold.target)
            if session.closed or refusal is None or not session.policy.asks(hold.target):
                self._end(hold, HeldCause.WITHDRAWN, refusal)

    def _end(
        self, hold: Hold, cause: HeldCause, refusal: Refusal | None, decided: EgressDecision | None = None
    ) -> None:
        if hold.ended.is_set():
            return
        hold.refusal = refusal
        hold.request = hold.request.model_copy(update={"cause": cause, "decided": decided})
        hold.stop_timers()
        hold.due = asyncio.get_running_loop().call_later(FORGET_S, self.forget, hold.request.id)
        hold.ended.set()
        self._note_change()

    # --- called by managers

    def decide(self, request_id: str, decision: EgressDecision) -> HeldRequest:
        """Allow or refuse what waits. The first decision counts. Raises UnknownHoldError, DecidedError."""
        hold = self._holds.get(request_id)
        if hold is None or hold.request.session_id != decision.session_id:
            raise UnknownHoldError(request_id)
        if hold.ended.is_set():
            by = hold.request.decided.by if hold.request.decided is not None else ""
            raise DecidedError(f"{by} has answered it" if by else "it was withdrawn or has expired")
        refusal = None
        if decision.decision == "deny":
            text = f"a person denied the connection to {hold.target}"
            refusal = Refusal(Reason.DENIED, f"{text}: {decision.message}" if decision.message else text)
            hold.session.deny(hold.target, refusal, DENIED_S)
        elif decision.remember:
            hold.session.granted.add(hold.target)
        elif not hold.waiting:
            hold.session.grant(hold.target, GRANT_S)
        self._end(hold, HeldCause.ANSWERED, refusal, decision)
        return hold.request

    def forget(self, request_id: str) -> None:
        """Forget a decided request. Absent is success."""
        hold = self._holds.get(request_id)
        if hold is not None and hold.ended.is_set():
            hold.stop_timers()
            del self._holds[request_id]
            self._note_change()

    async def page(self, revision: str, wait_s: float) -> HeldPage:
        """Return what is held; while `revision` is the present one, wait for a change, `wait_s` seconds at most."""
        if revision == self.revision and not self._closed:
            changed = self._changed
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await changed.wait()
        requests = [hold.request for hold in self._holds.values()]
        return HeldPage(run=self._run, revision=self.revision, requests=requests)

    @property
    def revision(self) -> str:
        """Name the present state: it differs after a change, and after a restart."""
        return f"{self._run}-{self._revision}"

    def _note_change(self) -> None:
        self._revision += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """Cancel every timer and let waiting managers go. The connections are cut by their sessions. May run twice."""
        self._closed = True
        for hold in self._holds.values():
            hold.stop_timers()
        self._changed.set()
