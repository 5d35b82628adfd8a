"""The relay: stores each runner's journal in PostgreSQL, each line exactly once, and publishes what is stored.

One transaction writes a batch of output, the changed record and the events, fenced by the record's version; the next
batch continues at the record's `output_seq`. So a relay may fail at any point, and two managers may follow the same
runner: the second write is rejected, and that relay continues after the output that the first has stored.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.publisher import Publisher
from jelmore.control.tasks import Tasks
from jelmore.control.traces import Traces
from jelmore.control.transcripts import TranscriptKeeper
from jelmore.ports import BrokenOutputError, ControlAddress, Delta, Leases, PublicClients, RelayBreak, Runners, Store
from jelmore.session.errors import DependencyError, JelmoreError, StaleError, UnknownSessionError
from jelmore.session.events import EventDraft, EventType
from jelmore.session.output import Output
from jelmore.session.output_effects import read
from jelmore.session.record import Session

_log = structlog.get_logger(__name__)

_SHORTEST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_MAX_BROKEN: Final = 5
"""Consecutive broken outputs at the same seq after which the session is ended."""

_LEASE_S: Final = 12.0
"""How long after a manager's crash other managers may follow its sessions."""

_RESERVED_S: Final = _LEASE_S / 3
"""How long a lease that was taken ahead may be relied on, counted from before it was asked for."""

_RECONCILE_KINDS: Final = frozenset({"state", "exited"})
"""Kinds of output that trigger the reconciler."""


class Relays:
    """The relays of this manager, one task per followed session."""

    def __init__(
        self,
        store: Store,
        runners: Runners,
        publisher: Publisher,
        tasks: Tasks,
        leases: Leases,
        *,
        enqueue: Callable[[UUID], None],
        turn_ended: Callable[[UUID], None] = lambda _: None,
        clients: Callable[[Session, Mapping[str, bool]], None] = lambda *_: None,
        traces: Traces | None = None,
        transcripts: TranscriptKeeper | None = None,
    ) -> None:
        self._store = store
        self._runners = runners
        self._publisher = publisher
        self._tasks = tasks
        self._leases = leases
        self._enqueue = enqueue
        self._turn_ended = turn_ended
        self._clients = clients
        self._traces = traces or Traces()
        self._transcripts = transcripts
        self._following: dict[UUID, int] = {}
        self._reserved: dict[UUID, float] = {}  # until when a lease counts that was taken ahead, by session
        self._broken_times: dict[UUID, int] = {}
        self._pauses_s: dict[UUID, float] = {}  # the pause before the next relay, by session; grows with each failure

    def attached(self, session: Session) -> bool:
        """Return whether this manager follows the runner of the session's present generation."""
        return self._following.get(session.id) == session.generation

    async def followed(self, session: Session) -> bool:
        """Return whether any manager follows the runner."""
        return self.attached(session) or await self._leases.elsewhere(_lease(session.id))

    def followed_generations(self) -> Mapping[UUID, int]:
        """Return the sessions that this manager follows, with the generation of each."""
        return self._following

    def following(self) -> int:
        """Return how many sessions this manager follows."""
        return len(self._following)

    async def reserve(self, session: Session) -> None:
        """Take the lease that `attach` needs, while the runner is still being initialized.

        Does nothing when another manager has it. One that is not used runs out.
        """
        now = asyncio.get_running_loop().time()
        until = now + _RESERVED_S
        self._reserved = {id_: kept for id_, kept in self._reserved.items() if kept > now}
        if not self.attached(session) and await self._leases.take([_lease(session.id)], _LEASE_S):
            self._reserved[session.id] = until

    async def attach(self, session: Session, at: ControlAddress) -> None:
        """Follow the runner from the stored seq on. Does nothing when this or another manager follows it already."""
        reserved = self._reserved.pop(session.id, 0.0) > asyncio.get_running_loop().time()
        if self.attached(session) or not (reserved or await self._leases.take([_lease(session.id)], _LEASE_S)):
            return
        await self._tasks.stop(f"relay-{session.id}")
        self._following[session.id] = session.generation
        if self._transcripts is not None:
            await self._transcripts.start(session, at)
        self._tasks.start(f"relay-{session.id}", self._follow(session, at))
        self._publisher.follow(session)

    async def detach(self, session_id: UUID) -> None:
        """Stop following the session. Succeeds when it is not followed."""
        await self._tasks.stop(f"relay-{session_id}")
        if self._transcripts is not None:
            await self._transcripts.stop(session_id)
        self._pauses_s.pop(session_id, None)
        self._reserved.pop(session_id, None)
        self._publisher.unfollow(session_id)
        self._following.pop(session_id, None)  # a task that is cancelled before it first runs does not do this itself

    async def settle(self, session_id: UUID) -> None:
        """Return when the transcript of an agent that has ended is stored, or after a few seconds."""
        if self._transcripts is not None:
            await self._transcripts.settle(session_id)

    async def keep_leases(self) -> None:
        """Renew the leases of followed sessions and enqueue sessions that no manager follows, until cancelled.

        Raises DependencyError. Relays continue without the database: their writes are fenced, so two followers of one
        runner do no harm.
        """
        while True:
            mine = {_lease(session_id): session_id for session_id in self._following}
            kept = await self._leases.take(list(mine), _LEASE_S)
            for name, session_id in mine.items():
                if name not in kept:
                    await self.detach(session_id)
            for session_id in await self._leases.unfollowed():
                if session_id not in self._following:
                    self._enqueue(session_id)
            await asyncio.sleep(_LEASE_S / 3)

    async def release_leases(self) -> None:
        """Release the leases at an orderly shutdown, so that other managers can follow the sessions at once."""
        names = [_lease(session_id) for session_id in {*self._following, *self._reserved}]
        self._reserved.clear()
        await self._leases.give(names)

    async def store(self, session: Session, outputs: list[Output]) -> Session:
        """Store output that continues the session's, with the changes and events that follow; return the saved session.

        Skips output that is stored already, by this or another manager.
        """
        before = session
        while True:
            fresh = [output for output in outputs if output.seq > session.output_seq]
            if not fresh:
                self._pass_on(before, session, outputs)  # stored by another manager, which feeds no readers here
                return session
            changed, drafts = read(session, fresh)
            try:
                saved = await self._store.save(changed, drafts, fresh)
            except StaleError:
                session = await self._store.load(session.id)
                continue
            self._pass_on(session, saved, outputs)
            self._traces.turns(saved.id, fresh)  # only here: whoever stored a turn reports it
            return saved

    def _pass_on(self, before: Session, saved: Session, outputs: list[Output]) -> None:
        """Publish stored output. Never waits: a dependency that hangs must not stop the storing of output."""
        self._publisher.stored(before, saved, outputs)
        if any(output.kind in _RECONCILE_KINDS for output in outputs):
            self._enqueue(saved.id)
        if any(output.kind == "turn_ended" for output in outputs):
            self._turn_ended(saved.id)

    async def _follow(self, session: Session, at: ControlAddress) -> None:
        try:
            await asyncio.sleep(await self._store_all(session, at))
        finally:
            self._clients(session, {})  # nobody says any more who is connected
            if self._following.get(session.id) == session.generation:
                self._publisher.unfollow(session.id)
                del self._following[session.id]
                if self._transcripts is not None:
                    self._transcripts.release(session.id)
            self._enqueue(session.id)

    async def _store_all(self, session: Session, at: ControlAddress) -> float:
        """Store the runner's output until the relay breaks; return the seconds to wait before following it again."""
        began, before = asyncio.get_running_loop().time(), session.output_seq
        least_s = _SHORTEST_PAUSE_S
        try:
            async with aclosing(self._runners.relay(at, session.output_seq)) as items:
                async for item in items:
                    if isinstance(item, Delta):
                        self._publisher.delta(session.id, item.text)
                    elif isinstance(item, PublicClients):
                        self._clients(session, item.can_write)
                    else:
                        session = await self._store_with_retries(session, item)
        except UnknownSessionError:
            return 0
        except RelayBreak as error:
            _log.info("relay_broke", session_id=str(session.id), error=str(error))
            least_s = 0  # the runner ended or was replaced: reconcile at once
        except (DependencyError, StaleError) as error:
            _log.info("relay_broke", session_id=str(session.id), error=str(error))
        except BrokenOutputError as error:
            least_s = _LONGEST_PAUSE_S
            await self._broken(session, error)
        except JelmoreError as error:
            _log.error("relay_failed", session_id=str(session.id), error=str(error), code=error.code)
            least_s = _LONGEST_PAUSE_S  # unlikely to succeed at once
        except Exception as error:  # noqa: BLE001 - the session is followed again after any error, so not at once
            _log.error("relay_failed", session_id=str(session.id), error=repr(error), exc_info=error)
            least_s = _LONGEST_PAUSE_S
        if session.output_seq > before or asyncio.get_running_loop().time() - began > _LONGEST_PAUSE_S:
            self._pauses_s.pop(session.id, None)  # this relay made progress or lasted for a while
        if session.output_seq > before:
            self._broken_times.pop(session.id, None)
        pause_s = max(self._pauses_s.get(session.id, 0), least_s)
        self._pauses_s[session.id] = min(max(pause_s * 2, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
        return pause_s

    async def _broken(self, session: Session, error: BrokenOutputError) -> None:
        """End a session whose output stays broken at the same seq: later output can never be stored."""
        times = self._broken_times[session.id] = self._broken_times.get(session.id, 0) + 1
        _log.error("output_broken", session_id=str(session.id), error=str(error), times=times)
        if times < _MAX_BROKEN:
            return
        draft = EventDraft(EventType.ERROR_RECEIVED, {"code": "output_broken", "message": str(error)})
        with suppress(DependencyError, StaleError, UnknownSessionError):  # the next failure tries again
            session = await self._store.load(session.id)
            ending = session.ending(datetime.now(UTC), "output_broken")
            if ending is not session:
                self._publisher.saved(session, await self._store.save(ending, [draft]))
            self._broken_times.pop(session.id, None)

    async def _store_with_retries(self, session: Session, outputs: list[Output]) -> Session:
        """Store a batch, retrying until the database is back. Reading stops meanwhile, which slows the runner down."""
        pause_s = _SHORTEST_PAUSE_S
        while True:
            try:
                return await self.store(session, outputs)
            except DependencyError as error:
                _log.warning("relay_waits", session_id=str(session.id), error=str(error), pause_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _lease(session_id: UUID) -> str:
    return f"relay/{session_id}"
