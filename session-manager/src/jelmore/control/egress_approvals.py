"""Connections of sandboxes that wait in the gateway until a person decides.

The gateway holds a connection and the runner journals it as a pending request, so that everybody sees it where other
requests are. A decision goes to the gateway first, which takes one only, and is journaled after that. Each step may run
twice and by any manager: the loop continues what a crash of a manager, a gateway or a runner left undone.
"""

import asyncio
from dataclasses import replace
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.edits import edit
from jelmore.control.ports import Ports
from jelmore.control.queue import WorkQueue
from jelmore.control.watchers import Watchers
from jelmore.ports import Gateway, ListQuery
from jelmore.session.errors import (
    ConflictError,
    DependencyError,
    InvalidRequestError,
    JelmoreError,
    RefusedError,
    UnknownRequestError,
    UnknownSessionError,
)
from jelmore.session.events import EventDraft
from jelmore.session.network import with_approved
from jelmore.session.record import Session
from jelmore.session.states import WaitingFor
from jelmore_protocol.control import EgressAsk, EgressOutcome, PermissionAnswer
from jelmore_protocol.gateway import EGRESS_REQUEST, EgressDecision, HeldCause, HeldPage, HeldRequest

_log = structlog.get_logger(__name__)

PAUSE_S: Final = 1.0
COMPARE_S: Final = 60.0
MAX_COMPARED: Final = 1000
AT_ONCE: Final = 32
"""Requests that are worked on at once. A runner that hangs delays the others by the deadline of one call."""

_TOO_OLD: Final = "the session's sandbox is of an earlier version, which cannot ask; restart the session"
_WITHDRAWN: Final = "the agent that opened the connection has ended"


class EgressApprovals:
    """Brings held connections before people, and their decisions back. `run` is its loop."""

    def __init__(self, gateway: Gateway, ports: Ports, queue: WorkQueue, watchers: Watchers) -> None:
        self._gateway = gateway
        self._ports = ports
        self._queue = queue
        self._watchers = watchers
        self._asked: set[str] = set()  # requests that are journaled
        self._run = ""  # the process of the gateway that was seen last
        self._compare_at = 0.0
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def answer(self, session: Session, request_id: str, answer: PermissionAnswer) -> int:
        """Decide about a connection of the session; return the seq of the journaled answer. The first one counts.

        Raises InvalidRequestError, UnknownRequestError, AlreadyAnsweredError; DependencyError without the gateway.
        """
        _check(answer)
        decision = EgressDecision(
            session_id=str(session.id),
            decision=answer.decision,
            remember=answer.remember == "session",
            by=answer.by,
            message=answer.message or "",
        )
        held = await self._gateway.decide(request_id, decision)
        seq = await self._settle(session, held)
        if answer.interrupt:
            await self._ports.runners.interrupt(await self._ports.control_of(session))
        return seq

    async def run(self) -> None:
        """Follow the gateway until cancelled. One that is away is asked again."""
        revision = ""
        while True:
            try:
                page = await self._gateway.held(revision)
                await self.take(page)
                revision = page.revision
            except DependencyError as error:
                _log.debug("held_not_read", error=str(error))
                revision = ""
                await asyncio.sleep(PAUSE_S)

    async def take(self, page: HeldPage) -> None:
        """Continue each request, and resolve what sessions show and no gateway holds. May run twice."""
        self._asked &= {each.id for each in page.requests}
        await asyncio.gather(*(self._go_on(each) for each in page.requests))
        now = asyncio.get_running_loop().time()
        if page.run != self._run or now >= self._compare_at:
            await self._compare()
            self._run, self._compare_at = page.run, now + COMPARE_S

    async def _go_on(self, held: HeldRequest) -> None:
        if held.cause is None and held.id in self._asked:
            return
        async with self._slots:
            try:
                session = await self._ports.store.load(UUID(held.session_id))
                if session.ended or session.generation != held.generation:
                    await self._end(held)
                elif held.cause is None:
                    await self._ask(session, held)
                else:
                    await self._settle(session, held)
            except (UnknownSessionError, ValueError):
                await self._end(held)
            except JelmoreError as error:  # tried again with the next look
                _log.info("held_request_waits", request_id=held.id, session_id=held.session_id, error=str(error))

    async def _ask(self, session: Session, held: HeldRequest) -> None:
        asked = EgressAsk(id=held.id, host=held.host, port=held.port, method=held.method, expires_at=held.expires_at)
        try:
            await self._ports.runners.ask_egress(await self._ports.control_of(session), asked)
            self._asked.add(held.id)
        except ConflictError:
            await self._deny(held, _WITHDRAWN)
        except RefusedError:
            await self._deny(held, _TOO_OLD)

    async def _deny(self, held: HeldRequest, why: str) -> None:
        """Refuse a connection that no person can be asked about."""
        decision = EgressDecision(session_id=held.session_id, decision="deny", message=why)
        try:
            await self._gateway.decide(held.id, decision)
        except (ConflictError, UnknownRequestError):
            return

    async def _end(self, held: HeldRequest) -> None:
        """Forget a request whose session has ended: its connections are cut with its registration."""
        if held.cause is not None:
            await self._gateway.forget(held.id)

    async def _settle(self, session: Session, held: HeldRequest) -> int:
        """Carry out a decision, journal it, and let the gateway forget it; return the seq. May run twice."""
        decided = held.decided
        if decided is not None and decided.decision == "allow" and decided.remember:
            await self._approve(session.id, held)
        seq = await self._journal(session, held.id, outcome_of(held))
        await self._gateway.forget(held.id)
        return seq

    async def _journal(self, session: Session, request_id: str, outcome: EgressOutcome) -> int:
        at = await self._ports.control_of(session)
        try:
            return (await self._ports.runners.settle_egress(at, request_id, outcome)).seq
        except (ConflictError, UnknownRequestError, RefusedError):  # it is journaled, or was never asked
            return (await self._ports.runners.health(at)).seq

    async def _approve(self, session_id: UUID, held: HeldRequest) -> None:
        """Add the host to what the session may reach. The reconciler registers that with the gateway."""

        def approved(session: Session) -> tuple[Session, list[EventDraft]]:
            network = with_approved(session.spec.network, held.host, held.port)
            if session.ended or network == session.spec.network:
                return session, []
            return replace(session, spec=replace(session.spec, network=network)), []

        await edit(self._ports.store, self._watchers, session_id, approved, then=self._queue.add)

    async def _compare(self) -> None:
        """Resolve the requests that sessions show and the gateway does not hold: it was restarted, or forgot them."""
        waiting, _ = await self._ports.store.list(ListQuery(limit=MAX_COMPARED, waiting_for=WaitingFor.EGRESS))
        sessions = await self._ports.store.load_many([each.id for each in waiting])
        shown = [(session, each["request_id"]) for session in sessions.values() for each in _egress_of(session)]
        if not shown:
            return
        # Read after the records: what they show was held before.
        known = {each.id for each in (await self._gateway.held("")).requests}
        lost = EgressOutcome(decision="cancelled", cause="gateway_restarted")
        for session, request_id in shown:
            if request_id not in known:
                try:
                    await self._journal(session, request_id, lost)
                except JelmoreError as error:
                    _log.info("lost_request_waits", request_id=request_id, error=str(error))


def is_egress(request_id: str) -> bool:
    """Return whether a request is about a connection: the gateway decides, not the runner."""
    return request_id.startswith(EGRESS_REQUEST)


def outcome_of(held: HeldRequest) -> EgressOutcome:
    """Return what is journaled about a request that waits no longer."""
    decided = held.decided
    if decided is None:
        expired = held.cause is HeldCause.EXPIRED
        return EgressOutcome(decision="deny", cause="expired") if expired else EgressOutcome(decision="cancelled")
    given = {"remember": "session"} if decided.remember else {}
    return EgressOutcome(decision=decided.decision, by=decided.by, message=decided.message, **given)


def _egress_of(session: Session) -> list[dict[str, str]]:
    return [each for each in session.pending if each.get("waiting_for") == WaitingFor.EGRESS]


def _check(answer: PermissionAnswer) -> None:
    """Raise InvalidRequestError for what does not fit a connection."""
    for name in ("answers", "updated_input", "updated_permissions"):
        if getattr(answer, name) is not None:
            raise InvalidRequestError(f"{name}: this request is about a connection; allow or deny it")
