"""Calls to the runners of sessions: resume the session first, retry while its runner starts, end at a deadline."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from jelmore.control.edits import edit
from jelmore.control.meanwhile import meanwhile
from jelmore.control.ports import Ports
from jelmore.control.queue import WorkQueue
from jelmore.control.recorded_inputs import recorded_seq
from jelmore.control.requests import Accepted, Caller
from jelmore.control.session_spec import Defaults
from jelmore.control.slots import Slots
from jelmore.control.watchers import Watchers
from jelmore.ports import ControlAddress
from jelmore.session.errors import ConflictError, DependencyError, SessionEndedError, StaleError, StartFailedError
from jelmore.session.events import EventDraft
from jelmore.session.pending_inputs import PendingInput, PendingInputs, added, of_id, retried
from jelmore.session.plain_text import storable_text
from jelmore.session.record import Session
from jelmore.session.states import Fact, Presence, SessionStatus, Wanted
from jelmore_protocol.control import InputAccepted, InputRequest

_RUNNER_PATIENCE_S: Final = 30.0
_RUNNER_PAUSE_S: Final = 0.05


class RunnerCalls:
    """Brings a session to the point where its runner listens, and calls the runner."""

    def __init__(self, ports: Ports, queue: WorkQueue, watchers: Watchers, defaults: Defaults) -> None:
        self._ports = ports
        self._queue = queue
        self._watchers = watchers
        self._defaults = defaults
        self.slots = Slots(ports, queue, watchers)

    async def started(self, session: Session) -> Session:
        """Return the session once it is ready.

        Raises StartFailedError with the container's last log lines, SessionEndedError when it was deleted meanwhile,
        DependencyError when it is still starting after `start_patience_s`.
        """
        done = await self._watchers.until(
            session.id, lambda s: s.status is not SessionStatus.INITIALIZING, self._defaults.start_patience_s
        )
        if done.status is SessionStatus.INITIALIZING:
            raise DependencyError("session", f"{session.id} is still starting; GET it to see what becomes of it")
        if done.status is SessionStatus.FAILED:
            raise StartFailedError(done.id, done.failure.message if done.failure else "unknown", done.failure)
        return live(done)

    async def awake(self, caller: Caller, session_id: UUID) -> Session:
        """Return the session once its runner is ready, after resuming it if it is paused or hibernated."""
        while True:
            session = await self._resumed(caller, session_id)
            if session.container_id is not None:
                return session
            await self._replaced(session)

    async def send_input(
        self, caller: Caller, session_id: UUID, request: InputRequest, *, is_new: bool
    ) -> tuple[Session, Accepted]:
        """Send an input, after resuming the session; return the session and how the input was accepted.

        One that `is_new`, because its id was made for it, is not looked for among those that ran before.

        A hibernated session accepts a text by storing it with its record, if that is small enough: the reconciler hands
        it over. Any other input is accepted when a runner has journaled it. A runner takes inputs when its journal is
        open: the agent may still be starting, and finds them there.
        """
        session = await self._resumed(caller, session_id, request, is_new=is_new)
        if (known := of_id(session.pending_inputs, request.id)) is not None:
            if known.refusal is not None:
                session = await self.change(session_id, retry)
            return session, Accepted(request.id, known.after, waking=True)
        if session.accepts_while_hibernated and (seq := await self._recorded(session_id, request)) is not None:
            return session, Accepted(request.id, seq)
        session, seq = await self._journaled(caller, session, lambda at: self._ports.runners.input(at, request))
        return session, Accepted(request.id, seq)

    async def _recorded(self, session_id: UUID, request: InputRequest) -> int | None:
        return await recorded_seq(self._ports.store, session_id, request.id)

    async def _journaled(
        self, caller: Caller, session: Session, call: Callable[[ControlAddress], Awaitable[InputAccepted]]
    ) -> tuple[Session, int]:
        """Send an input to the runner of a session that was resumed; return the session and the seq of the input."""
        session_id = session.id
        if session.pending_inputs:  # they come first
            session = await self._delivered(session)
        elif session.container_id is None:
            at = await self._beginning(session)
            if at is not None and at.generation == session.generation:
                with suppress(DependencyError):  # it has ended, or is slow: once it is ready, it is called again
                    return session, (await call(at)).seq
            session = await self.awake(caller, session_id)
        return session, (await self.call(session, call)).seq

    async def _delivered(self, session: Session) -> Session:
        """Return the session when its runner has its pending inputs. Raises ConflictError if the runner refuses one.

        One that was refused before is tried again. Raises DependencyError, SessionEndedError.
        """
        await self.change(session.id, retry)
        session = await self._watchers.until(session.id, _is_delivered, self._defaults.start_patience_s)
        for each in live(session).pending_inputs:
            why = f"input {each.id}, which was accepted before, waits"
            if each.refusal is not None:
                raise ConflictError(f"{why}: {each.refusal}; cancel it, or correct that and send it again")
            raise DependencyError("session", f"{why}: {session.id} is still being resumed")
        return session

    async def change(
        self, session_id: UUID, changed: Callable[[Session], Session], drafts: Sequence[EventDraft] = ()
    ) -> Session:
        """Save a change of the record with its events, and reconcile it. No change does nothing."""
        return await edit(
            self._ports.store, self._watchers, session_id, lambda one: (changed(one), drafts), then=self._queue.add
        )

    async def _resumed(
        self, caller: Caller, session_id: UUID, given: InputRequest | None = None, *, is_new: bool = False
    ) -> Session:
        """Return a session that is awake: its runner is ready, or is being started.

        A hibernated one that can hold the `given` input is resumed with it, and stays as it is if this has run before.
        """
        while True:
            session = live(caller.sees(await self._ports.store.load(session_id)))
            if session.status is SessionStatus.INITIALIZING:
                return live(await self.started(session))
            if session.presence is Presence.AWAKE:
                return session
            changed, drafts = session.after(Fact.RESUMING, self._ports.clock.now())
            if given is not None and session.accepts_while_hibernated:
                if not is_new and await self._recorded(session_id, given) is not None:
                    return session  # it ran before: there is nothing to resume it for
                changed = _holding(changed, given, self._ports.clock.now())
            try:
                saved = await self.revived(changed, drafts)
            except StaleError:
                continue
            self._watchers.notify(saved)
            if session.presence is Presence.HIBERNATED:  # a paused one starts nothing
                self._ports.traces.starts(session_id)
            self._queue.add(session_id)
            await self._watchers.saved(saved)
            if saved.pending_inputs:  # any call that is not one of them waits for them
                return saved

    async def _replaced(self, session: Session) -> Session:
        """Return the session when its container has been replaced, or when it has ended. Raises DependencyError."""
        ready = await self._watchers.until(
            session.id, lambda s: s.ended or s.container_id is not None, self._defaults.start_patience_s
        )
        if ready.container_id is None and not ready.ended:
            raise DependencyError("session", f"{session.id} is being restarted")
        return ready

    async def _beginning(self, session: Session) -> ControlAddress | None:
        """Return where a runner takes inputs already; None when its container has been replaced before that is known.

        That is the case when another manager replaces it. Raises DependencyError.
        """
        async with (
            meanwhile(f"beginning-{session.id}", self._ports.lookup.beginning(session.id)) as began,
            meanwhile(f"replaced-{session.id}", self._replaced(session)) as replaced,
        ):
            await asyncio.wait({began, replaced}, return_when=asyncio.FIRST_COMPLETED)
            if began.done():
                return began.result()
            await replaced
            return None

    async def revived(self, changed: Session, drafts: list[EventDraft]) -> Session:
        """Save a session that needs a slot from now on. Raises CapacityError, StaleError."""
        revive = partial(self._ports.store.revive, changed, drafts, most_live=self._defaults.most_live)
        return await self.slots.claim(revive)

    async def call_awake[T](self, session: Session, call: Callable[[ControlAddress], Awaitable[T]]) -> T:
        """Call the runner, if the session is awake. Raises ConflictError otherwise: a read resumes nothing."""
        if live(session).presence is not Presence.AWAKE:
            raise ConflictError(f"session {session.id} is not awake; read this again after the next input")
        return await self.call(session, call)

    async def call[T](self, session: Session, call: Callable[[ControlAddress], Awaitable[T]]) -> T:
        """Call the runner; retry for a while, because it may still be starting or resuming.

        A retry is safe: the runner recognizes an input by its id and an answer by its request.
        """
        deadline = asyncio.get_running_loop().time() + _RUNNER_PATIENCE_S
        while True:
            try:
                return await call(await self._ports.control_of(session))
            except DependencyError:
                session = live(await self._ports.store.load(session.id))
                if asyncio.get_running_loop().time() > deadline or session.presence is not Presence.AWAKE:
                    raise
                self._queue.add(session.id)
                await asyncio.sleep(_RUNNER_PAUSE_S)


def _holding(session: Session, request: InputRequest, now: datetime) -> Session:
    """Return the session with the input in its record, if that can hold it: only a runner can read files of blocks."""
    if request.content is not None or not storable_text(request.id + request.input + request.by):
        return session
    at, after = now.isoformat(), session.output_seq
    held = PendingInput(request.id, request.input, request.by, at, after, expand=request.expand)
    return with_inputs(session, added(session.pending_inputs, held) or session.pending_inputs)


def retry(session: Session) -> Session:
    """Return the session whose pending inputs are handed over again, if a runner has refused them."""
    return with_inputs(session, retried(session.pending_inputs))


def with_inputs(session: Session, inputs: PendingInputs) -> Session:
    """Return the session with these pending inputs."""
    return session if inputs == session.pending_inputs else replace(session, pending_inputs=inputs)


def _is_delivered(session: Session) -> bool:
    pending = session.pending_inputs
    return session.ended or not pending or any(each.refusal is not None for each in pending)


def live(session: Session) -> Session:
    """Return the session. Raises SessionEndedError when it has ended or is ending."""
    if session.ended or session.wanted is Wanted.ENDED:
        raise SessionEndedError(session.id)
    return session
