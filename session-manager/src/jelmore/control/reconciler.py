"""Observes a session, decides with `jelmore.session.steps`, and carries out one step."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.gateway_keeper import GatewayKeeper
from jelmore.control.input_delivery import deliver
from jelmore.control.observer import Observer, runner_view
from jelmore.control.ports import Ports
from jelmore.control.publisher import Publisher
from jelmore.control.relay import Relays
from jelmore.control.runner_start import RunnerStart
from jelmore.control.salvage import Salvage
from jelmore.control.standstill import Standstill
from jelmore.control.stuck_removals import StuckRemovals
from jelmore.ports import ControlAddress, SandboxSpec
from jelmore.session.acts import Act, HandOver, RecordFact, RequestEnd, Step, Wait, Warn
from jelmore.session.errors import (
    ConflictError,
    DependencyError,
    JelmoreError,
    RefusedError,
    StaleError,
    UnknownSessionError,
    WorkspaceLostError,
)
from jelmore.session.events import EventDraft, EventType
from jelmore.session.foreseen import MAX_STEPS, world_after
from jelmore.session.pending_inputs import handed_over
from jelmore.session.record import Detail, Failure, Session, failure_payload
from jelmore.session.states import Fact, Presence, Wanted
from jelmore.session.steps import SOON_S, Policy, end_left_s, next_step
from jelmore.session.world import Route, Runner, RunnerPhase, Sandbox, SandboxState, World
from jelmore_protocol import ProtocolError
from jelmore_protocol.bounds import MAX_STOP_GRACE_S
from jelmore_protocol.control import Draining, Stop

_log = structlog.get_logger(__name__)

_STOPPING_POLL_S: Final = 0.2
_RETRY_S: Final = 0.5
_COPYING_LOOK_S: Final = 0.2
_ORDERLY: Final = frozenset({Act.UNPAUSE, Act.ATTACH, Act.STOP})
"""Acts of an orderly end. When their time is over, the end continues without them."""

_LAST_OF_A_START: Final = frozenset({Fact.READY, Fact.READY_BUSY, Fact.CONTAINER_REPLACED, Fact.FAILED})
_LOG_TAIL_LINES: Final = 40


class Reconciler:
    """Brings the world to the state that each record asks for, and records what is observed."""

    def __init__(
        self,
        ports: Ports,
        relays: Relays,
        publisher: Publisher,
        runner_start: RunnerStart,
        policy: Policy,
        *,
        gateway: GatewayKeeper,
        concurrent_starts: int,
        stop_grace_s: float,
        hot_tail_ttl_s: int,
        probes_failed: Callable[[UUID], int],
    ) -> None:
        self._ports = ports
        self._relays = relays
        self._publisher = publisher
        self._policy = policy
        self._gateway = gateway
        self._salvage = Salvage(ports.sandboxes, relays, within_s=policy.salvage_timeout_s)
        self._starts = asyncio.Semaphore(concurrent_starts)
        self._removals = StuckRemovals()
        self._stop_grace_s = stop_grace_s
        self._hot_tail_ttl_s = hot_tail_ttl_s
        self._runner_start = runner_start
        self.standstill = Standstill(ports.clock)
        self._observer = Observer(
            ports.sandboxes,
            ports.runners,
            ports.edge,
            ports.lookup,
            relays,
            self.standstill,
            probes_failed=probes_failed,
        )

    async def reconcile(self, session_id: UUID) -> float | None:
        """Take one step, and those whose world it has left; return the seconds until the next pass.

        None waits for a trigger. May run at any time and any number of times: it acts on the present state. Raises
        DependencyError when a dependency of the step is unavailable; the queue retries.
        """
        try:
            session = await self._ports.store.load(session_id)
        except UnknownSessionError:
            self._salvage.forget(session_id)
            return None
        if session.wanted is Wanted.ENDED and not session.ended:
            self._gateway.revoke(session)
        self._gateway.follow(session)
        waits_for_init = session.starts_in_member and not self._relays.attached(session)
        if waits_for_init and session.wanted is Wanted.RUNNING:  # it is most probably the next step
            async with self._runner_start.preparing(session):
                return await self._steps(session)
        return await self._steps(session)

    async def _steps(self, session: Session) -> float | None:
        with self._ports.traces.step(session.id, "look"):
            world = await self._observer.world(session, self._orderly_left_s(session))
        try:
            for _ in range(MAX_STEPS):
                step = next_step(session, world, self._ports.clock.now(), self._policy)
                if not isinstance(step, Wait):
                    _log.debug("step", session_id=str(session.id), step=str(step), status=session.status.value)
                taken = await self._take(session, world, step)
                if not isinstance(taken, World):
                    return taken
                world = taken
        except StaleError:
            pass  # the record has a newer version: decide again
        return 0.0

    def _end_left_s(self, session: Session) -> float | None:
        return end_left_s(session, self.standstill.since(), self._ports.clock.now(), self._policy)

    def _orderly_left_s(self, session: Session) -> float | None:
        """Return how many seconds a requested end may still wait for its runner, leaving time to read the journal."""
        left_s = self._end_left_s(session)
        return None if left_s is None else left_s - self._policy.salvage_timeout_s

    async def _take(self, session: Session, world: World, step: Step) -> float | World | None:
        match step:
            case Wait(seconds):
                return seconds
            case RecordFact(fact, detail):
                return await self._record(session, fact, detail)
            case RequestEnd(reason):
                await self._save(session, session.ending(self._ports.clock.now(), reason), [])
                return 0.0
            case Warn(expires_at):
                draft = EventDraft(EventType.SYSTEM_TIMEOUT_WARNING, {"expires_at": expires_at.isoformat()})
                await self._save(session, replace(session, warned_at=self._ports.clock.now()), [draft])
                return 0.0
            case HandOver():
                inputs = handed_over(session.pending_inputs)
                await self._save(session, replace(session, pending_inputs=inputs), [])
                return 0.0
            case Act() as act if act in _ORDERLY and session.wanted is Wanted.ENDED:
                return _left(world, act, await self._try(session, world, act))
            case Act() as act:
                return _left(world, act, await self._act(session, world, act))

    async def _record(self, session: Session, fact: Fact, detail: Detail) -> float:
        if fact in {Fact.FAILED, Fact.CONTAINER_LOST} and detail.failure is not None:
            session, detail = await self._investigate(session, fact, detail, detail.failure)
        if fact is Fact.REMOVED and not self._salvage.is_complete(session):
            session = await self._salvage.store_rest(session, self._end_left_s(session))
        if fact is Fact.CONTAINER_LOST and detail.failure is not None:
            failed = failure_payload(detail.failure)
            _log.warning("container_lost", session_id=str(session.id), restarts=detail.restarts, **failed)
        changed, drafts = session.after(fact, self._ports.clock.now(), detail)
        with self._ports.traces.step(session.id, f"record {fact.value}", last=fact in _LAST_OF_A_START):
            saved = await self._save(session, changed, drafts)
        if saved.ended or saved.presence is Presence.HIBERNATED:
            await self._relays.detach(session.id)
        if saved.ended:
            self._salvage.forget(session.id)
            self._publisher.expire(saved.id, self._hot_tail_ttl_s)
        return 0.0

    async def _investigate(
        self, session: Session, fact: Fact, detail: Detail, failure: Failure
    ) -> tuple[Session, Detail]:
        """Before a failed container is removed, read its last log lines and store journaled output not yet relayed."""
        sandbox, tail = await self._ports.sandboxes.observe(session.id), failure.log_tail
        if sandbox is not None and not tail:
            tail = await self._ports.sandboxes.log_tail(sandbox.id, _LOG_TAIL_LINES)
        if fact is Fact.FAILED and (sandbox is None or sandbox.state is SandboxState.EXITED):
            await self._relays.detach(session.id)
            session = await self._salvage.store_rest(session, None)
        return session, replace(detail, failure=replace(failure, log_tail=tail))

    async def _save(self, before: Session, changed: Session, drafts: list[EventDraft]) -> Session:
        saved = await self._ports.store.save(changed, drafts)
        self._publisher.saved(before, saved)
        return saved

    async def _try(self, session: Session, world: World, act: Act) -> float | Runner:
        """Carry out an act of an orderly end. The end does not depend on it, so failures are only logged."""
        try:
            async with asyncio.timeout(self._orderly_left_s(session)):
                return await self._act(session, world, act)
        except (JelmoreError, TimeoutError) as error:
            _log.warning("end_hindered", session_id=str(session.id), step=act.value, error=str(error))
            return _RETRY_S

    async def _act(self, session: Session, world: World, act: Act) -> float | Runner:
        match act:
            case Act.START:
                with self._ports.traces.step(session.id, "start sandbox"):
                    return await self._start(session)
            case Act.PUBLISH_TO_MANAGER:
                await self._ports.edge.publish(session.id, None, route=Route.MANAGER)
            case Act.WITHDRAW:
                await self._ports.edge.withdraw(session.id)
            case _ if world.sandbox is not None:
                return await self._act_on(session, world, world.sandbox, act)
            case _:
                return _RETRY_S  # there is no sandbox to act on: decide again
        return 0.0

    async def _act_on(self, session: Session, world: World, sandbox: Sandbox, act: Act) -> float | Runner:
        """Act on the sandbox that was observed, never on a later one."""
        out = self._ports
        match act:
            case Act.REMOVE:
                await self._remove(session, world, sandbox)
            case Act.PAUSE:
                await out.sandboxes.pause(sandbox.id)
            case Act.UNPAUSE:
                await out.sandboxes.unpause(sandbox.id)
            case Act.PUBLISH:
                await out.edge.publish(session.id, sandbox.public, route=Route.RUNNER)
            case _ if sandbox.control is not None:
                return await self._call_runner(session, world, sandbox.control, act)
            case _:
                return _RETRY_S
        return 0.0

    async def _call_runner(self, session: Session, world: World, at: ControlAddress, act: Act) -> float | Runner:
        match act:
            case Act.INIT if world.runner is not None:
                with self._ports.traces.step(session.id, "initialize runner"):
                    return await self._init(session, at, world.runner)
            case Act.ATTACH:
                with self._ports.traces.step(session.id, "attach"):
                    await self._relays.attach(session, at)
            case Act.DELIVER:
                with self._ports.traces.step(session.id, "deliver inputs"):
                    if await deliver(self._ports.runners, session, at, self._save):
                        return SOON_S
                self._ports.lookup.began(at)
            case Act.DRAIN:
                return await self._drain(at)
            case Act.UNDRAIN:
                await self._ports.runners.set_draining(at, Draining(on=False))
            case Act.STOP:
                await self._stop(session, at)
                return _STOPPING_POLL_S
            case _:
                pass
        return 0.0

    async def _remove(self, session: Session, world: World, sandbox: Sandbox) -> None:
        runner = world.runner
        if sandbox.generation == session.generation:
            if runner is not None and runner.phase is RunnerPhase.ENDED:
                await self._relays.settle(session.id)
            await self._relays.detach(session.id)
        if runner is not None and runner.phase is RunnerPhase.ENDED and runner.seq <= session.output_seq:
            self._salvage.mark_complete(session)
        elif session.ended:  # last chance to store journaled output that was not relayed
            await self._salvage.store_rest(session, None)
        try:
            await self._ports.sandboxes.remove(sandbox.id)
        except DependencyError as error:
            if (draft := self._removals.failed(sandbox, error)) is not None:
                await self._save(session, session, [draft])
                self._removals.reported(sandbox)
            raise
        self._removals.removed(sandbox)
        self._gateway.withdraw(session.id, sandbox.generation)

    async def _start(self, session: Session) -> float:
        """Start a container, or record why it cannot start. A refusal is permanent, so it is not retried."""
        spec = SandboxSpec(
            session.id,
            session.generation,
            session.spec.limits,
            has_output=session.output_seq > 0,
            first_generation=session.first_generation,
            choice=session.spec.sandbox,
        )
        try:
            async with self._starts:
                with self._ports.traces.step(session.id, "register sandbox"):
                    await self._gateway.register(session)
                with self._ports.traces.step(session.id, "start container"):
                    await self._ports.sandboxes.start(spec)
        except RefusedError as error:
            failure = Failure(phase="creating", message=str(error))
            reason = "workspace_lost" if isinstance(error, WorkspaceLostError) else "start_failed"
            return await self._record(session, Fact.FAILED, Detail(reason=reason, failure=failure))
        return 0.0

    async def _init(self, session: Session, at: ControlAddress, runner: Runner) -> float | Runner:
        """Initialize the runner, or record why it refuses. A refusal is permanent, so it is not retried."""
        try:
            health = await self._runner_start.init(session, at, runner)
        except (RefusedError, ConflictError, ProtocolError) as error:
            failure = Failure(phase="starting", message=f"the runner refused to begin: {error}")
            return await self._record(session, Fact.FAILED, Detail(reason="start_failed", failure=failure))
        if health is None:
            return _COPYING_LOOK_S
        if not session.pending_inputs:  # else they come first
            self._ports.lookup.began(at)
        return runner_view(health)

    async def _stop(self, session: Session, at: ControlAddress) -> None:
        stop = Stop(
            reason=session.end_reason or session.presence.value,
            grace_s=min(self._stop_grace_s, MAX_STOP_GRACE_S),
            final=session.presence is not Presence.HIBERNATED,
        )
        await self._ports.runners.stop(at, stop)

    async def _drain(self, at: ControlAddress) -> float:
        try:
            await self._ports.runners.set_draining(at, Draining(on=True))
        except ConflictError:
            return 1.0  # the agent works again; its output will report that
        return 0.0


def _left(world: World, act: Act, result: float | Runner) -> float | World:
    """Return the world that an act has left, or the seconds until it can be decided again from a new look."""
    if isinstance(result, Runner):
        return world_after(world, act, result) or 0.0
    return result or world_after(world, act) or 0.0
