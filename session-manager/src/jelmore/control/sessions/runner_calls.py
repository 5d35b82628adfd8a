"""Calls to the runners of sessions: resume the session first, retry while its runner starts, end at a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from jelmore.control.queue import WorkQueue
from jelmore.control.reconciler import Ports
from jelmore.control.requests import Caller
from jelmore.control.session_spec import Defaults
from jelmore.control.watchers import Watchers
from jelmore.ports import ControlAddress
from jelmore.session.errors import ConflictError, DependencyError, SessionEndedError, StaleError, StartFailedError
from jelmore.session.record import Session
from jelmore.session.states import Fact, Presence, SessionStatus, Wanted

_RUNNER_PATIENCE_S: Final = 30.0
_RUNNER_PAUSE_S: Final = 0.05


class RunnerCalls:
    """Brings a session to the point where its runner listens, and calls the runner."""

    def __init__(self, ports: Ports, queue: WorkQueue, watchers: Watchers, defaults: Defaults) -> None:
        self._ports = ports
        self._queue = queue
        self._watchers = watchers
        self._defaults = defaults

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
        """Return the session once its runner should listen, after resuming it if it is paused or hibernated."""
        while True:
            session = live(caller.sees(await self._ports.store.load(session_id)))
            if session.status is SessionStatus.INITIALIZING:
                return live(await self.started(session))
            if session.presence is Presence.AWAKE and session.container_id is not None:
                return session
            if session.presence is Presence.AWAKE:  # its container is being replaced
                ready = await self._watchers.until(
                    session_id, lambda s: s.ended or s.container_id is not None, self._defaults.start_patience_s
                )
                if ready.container_id is None and not ready.ended:
                    raise DependencyError("session", f"{session_id} is being restarted")
                continue
            changed, drafts = session.after(Fact.RESUMING, self._ports.clock.now())
            try:
                saved = await self._ports.store.revive(changed, drafts, most_live=self._defaults.most_live)
            except StaleError:
                continue
            await self._watchers.saved(saved)
            if session.presence is Presence.HIBERNATED:  # a paused one starts nothing
                self._ports.traces.starts(session_id)
            self._queue.add(session_id)

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


def live(session: Session) -> Session:
    """Return the session. Raises SessionEndedError when it has ended or is ending."""
    if session.ended or session.wanted is Wanted.ENDED:
        raise SessionEndedError(session.id)
    return session
