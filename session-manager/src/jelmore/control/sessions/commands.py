"""Changes of sessions. Each one saves a change of the record or calls a runner; the reconciler does the rest."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

import structlog

from jelmore.control.access import Access
from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.edits import Edit, edit
from jelmore.control.egress_approvals import EgressApprovals, is_egress
from jelmore.control.live_limits import send_limits
from jelmore.control.outcomes import Outcomes
from jelmore.control.ports import Ports
from jelmore.control.queue import WorkQueue
from jelmore.control.requests import Accepted, Caller, Changed, Changes, Created, CreateRequest, IssuedToken
from jelmore.control.session_spec import Defaults, changed_session, new_session
from jelmore.control.sessions.checks import ReplayedError, check_may_restart, never_started
from jelmore.control.sessions.runner_calls import RunnerCalls, live
from jelmore.control.watchers import Watchers
from jelmore.ports import ControlAddress, Idempotency
from jelmore.session.errors import (
    ConflictError,
    InvalidRequestError,
    SessionEndedError,
    StaleError,
    StartFailedError,
    TooLargeError,
)
from jelmore.session.events import EventDraft, EventType
from jelmore.session.pool import Shape
from jelmore.session.record import Detail, Session
from jelmore.session.states import Fact, Presence, SessionStatus, WaitingFor, Wanted
from jelmore_protocol import MAX_INPUT_BYTES
from jelmore_protocol.content import Block, text_of
from jelmore_protocol.control import AnswerWithin, Change, Command, InputRequest, PermissionAnswer
from jelmore_protocol.events import Pending
from jelmore_protocol.tokens import Scope

_log = structlog.get_logger(__name__)

type Prepare = Callable[[Session], AbstractAsyncContextManager[Session]]
type Key = Idempotency | Callable[[], Idempotency] | None
"""The key of a create. One that is called is complete only when the workspace is filled, so it is looked up then."""

type MakeWorkspace = Callable[[UUID], Awaitable[None]]
_ALL: Final = frozenset({Scope.READ, Scope.WRITE})


class SessionCommands:
    """Changes of sessions, and prompts to them. Each one checks what its caller may see and do."""

    def __init__(
        self,
        ports: Ports,
        queue: WorkQueue,
        watchers: Watchers,
        access: Access,
        runner_calls: RunnerCalls,
        outcomes: Outcomes,
        defaults: Defaults,
        *,
        approvals: EgressApprovals,
        disk: DiskCapacity,
        revoke: Callable[[Session], None],
    ) -> None:
        self._ports = ports
        self._queue = queue
        self._watchers = watchers
        self._access = access
        self._calls = runner_calls
        self._outcomes = outcomes
        self._defaults = defaults
        self._approvals = approvals
        self._disk = disk
        self._revoke = revoke

    # --- lifecycle

    async def create(
        self,
        caller: Caller,
        request: CreateRequest,
        *,
        idempotency: Key,
        wait: bool,
        prepare: Prepare = nullcontext,
    ) -> Created:
        """Create a session; with `wait`, return when its URL accepts connections.

        `prepare` fills its workspace before it is stored, and clears it when it is not. The same idempotency key
        returns the session of the first call, in its present state, whether or not another one could start now. Raises
        InvalidRequestError; CapacityError without a free slot or disk; DependencyError or RefusedError without the
        engine or its image; IdempotencyMismatchError; with `wait`, StartFailedError, and SessionEndedError when the
        session was deleted meanwhile.
        """
        made = new_session(caller, request, self._defaults, self._ports.clock.now())
        return await self.create_made(caller, made, {}, idempotency=idempotency, wait=wait, prepare=prepare)

    async def create_made(
        self,
        caller: Caller,
        made: Session,
        payload: Mapping[str, Any],
        *,
        idempotency: Key,
        wait: bool,
        prepare: Prepare = nullcontext,
        filled: Callable[[Session], Awaitable[None]] | None = None,
    ) -> Created:
        """Create a session from its record, as `create`; `payload` is added to the event.

        `filled` stores what belongs to the record, once that is stored and before it is reconciled here.
        """
        caller.check_may_write()
        key = None if callable(idempotency) else idempotency
        if key and (known := await self._ports.store.replayed(made.owner, key)) is not None:
            return await self._replayed(caller, known, wait=wait)
        recipe = await self._can_start(made)
        warm = Shape.of(recipe, made.spec.limits) if self._defaults.warm() else None
        recorded = {"user_id": made.spec.user_id, "query": made.spec.query, "model": made.spec.model, **payload}
        drafts = [EventDraft(EventType.SESSION_CREATED, recorded)]
        try:
            async with prepare(made) as prepared:
                # A workspace that is filled is that of the id which the session has now.
                claim = warm if prepare is nullcontext else None
                key = idempotency() if callable(idempotency) else key
                session = await self._store(prepared, drafts, key, claim)
        except ReplayedError as replayed:  # a call with the same key was faster
            return await self._replayed(caller, replayed.session, wait=wait)
        self._watchers.notify(session)  # the cache has no older record of it, and is filled when it is read
        if filled is not None:
            await filled(session)
        _log.info("session_created", session_id=str(session.id), owner=session.owner, warm=session.warm_start.value)
        self._ports.traces.starts(session.id)
        self._queue.add(session.id)
        if wait:
            session = await self._calls.started(session)
        return Created(session, self._access.session_tokens.issue_to(caller, session, _ALL), is_new=True)

    async def _store(
        self, made: Session, drafts: list[EventDraft], idempotency: Idempotency | None, warm: Shape | None
    ) -> Session:
        """Store a new session. Raises ReplayedError when its idempotency key is known by now, and CapacityError."""
        create = partial(self._ports.store.create, made, drafts, idempotency=idempotency, warm=warm)
        with self._ports.traces.part("store session"):
            session, is_new = await self._calls.slots.claim(partial(create, most_live=self._defaults.most_live))
        if not is_new:
            raise ReplayedError(session)
        return session

    async def _replayed(self, caller: Caller, session: Session, *, wait: bool) -> Created:
        """Return the session of an earlier call; with `wait`, raise what that call raised if it never started."""
        self._queue.add(session.id)
        if wait and session.status is SessionStatus.INITIALIZING:
            session = await self._calls.started(session)
        elif wait and never_started(session):
            raise StartFailedError(session.id, session.failure.message if session.failure else "", session.failure)
        return Created(session, self._access.session_tokens.issue_to(caller, session, _ALL), is_new=False)

    async def delete(self, caller: Caller, session_id: UUID, *, reason: str, wait: bool) -> Session:
        """End a session in any state; with `wait`, return when it has ended. May run any number of times."""
        caller.check_may_write()
        session = await self._edit(caller, session_id, lambda s: (s.ending(self._ports.clock.now(), reason), []))
        if not session.ended:
            self._revoke(session)  # now: the pass that ends it may come after one that waits for its sandbox
        self._queue.add(session_id)
        if wait and not session.ended:
            session = await self._watchers.until(session_id, lambda s: s.ended, self._defaults.stop_patience_s)
        return session

    async def end_to_erase(self, caller: Caller, session_id: UUID) -> Session:
        """End a session because it will be erased; return it when it has ended, or as it is after the deadline."""
        return await self.delete(caller, session_id, reason="erased", wait=True)

    async def resume(
        self, caller: Caller, session_id: UUID, *, wait: bool, make_workspace: MakeWorkspace | None = None
    ) -> Session:
        """Start an ended session again, with its conversation and workspace.

        Raises ConflictError when it has not ended. `make_workspace` makes an empty workspace in place of one that is
        gone; without it, that raises ConflictError, and with it, a workspace that exists does.
        """
        caller.check_may_write()
        session = caller.sees(await self._ports.store.load(session_id))
        await self._can_start(session)
        has_workspace = await self._ports.sandboxes.has_workspace(session_id)
        if not has_workspace and make_workspace is None:
            raise ConflictError(
                f"the workspace of session {session_id} is gone; workspace=new resumes without its files"
            )
        if make_workspace is not None:
            if has_workspace or not session.ended:
                raise ConflictError(f"session {session_id} has its workspace; resume it without workspace=new")
            await make_workspace(session_id)
        session = await self._revived(caller, session_id)
        self._queue.add(session_id)
        return await self._calls.started(session) if wait else session

    async def restart(self, caller: Caller, session_id: UUID) -> Session:
        """Replace the container of a live session; keep its conversation and workspace. A running turn is lost."""
        caller.check_may_write()

        def lose(session: Session) -> tuple[Session, list[EventDraft]]:
            if session.ended or session.wanted is Wanted.ENDED:
                raise SessionEndedError(session_id)
            if session.presence is not Presence.AWAKE or session.status is SessionStatus.INITIALIZING:
                raise ConflictError(f"session {session_id} has no running agent to restart")
            return session.after(Fact.CONTAINER_LOST, self._ports.clock.now(), Detail(reason="restart"))

        await self._edit(caller, session_id, lose)
        self._queue.add(session_id)
        return await self._watchers.until(
            session_id, lambda s: s.ended or s.container_id is not None, self._defaults.start_patience_s
        )

    async def change(self, caller: Caller, session_id: UUID, changes: Changes) -> Changed:
        """Apply changes to a session.

        Model, permission mode, effort and the time for answers take effect in the running conversation. Other options
        of the agent need a new process: the sandbox is replaced and the conversation resumed. Raises ConflictError for
        these while a turn runs or a request waits for an answer.
        """
        caller.check_may_write()
        session = caller.sees(await self._ports.store.load(session_id))
        changed_session(session, changes, self._defaults)  # reject invalid changes before any call to the runner
        runs = not session.ended and session.presence is not Presence.HIBERNATED  # else they apply at its next start
        if runs and changes.needing_restart:
            check_may_restart(session, changes)
            session = await self._calls.awake(caller, session_id)
        if runs:
            await self._send_changes(caller, session, changes)
        restarted = changes.needing_restart if runs else ()

        def apply(session: Session) -> tuple[Session, list[EventDraft]]:
            changed = changed_session(session, changes, self._defaults)
            noted = [EventDraft(EventType.SESSION_CHANGED, {"fields": changes.names})] if changed != session else []
            if not restarted:
                return changed, noted
            check_may_restart(session, changes)
            lost, drafts = changed.after(Fact.CONTAINER_LOST, self._ports.clock.now(), Detail(reason="restart"))
            return lost, [*noted, *drafts]

        session = await self._edit(caller, session_id, apply)
        self._queue.add(session_id)
        if restarted:
            session = await self._watchers.until(
                session_id, lambda s: s.ended or s.container_id is not None, self._defaults.start_patience_s
            )
        return Changed(session, restarted)

    async def _send_changes(self, caller: Caller, session: Session, changes: Changes) -> None:
        """Send the changes to the runner. A paused sandbox is resumed first: its processes would not apply them."""
        runners, session_id = self._ports.runners, session.id
        calls: list[Callable[[ControlAddress], Awaitable[None]]] = []
        if (model := changes.model) is not None:
            calls.append(lambda at: runners.set_model(at, Change(value=model)))
        if (mode := changes.permission_mode) is not None:
            calls.append(lambda at: runners.set_permission_mode(at, Change(value=mode)))
        if (effort := changes.effort) is not None:
            calls.append(lambda at: runners.set_effort(at, Change(value=effort)))
        if (seconds := changes.answer_within_s) is not None:
            calls.append(lambda at: runners.set_answer_within(at, AnswerWithin(seconds=seconds)))
        if changes.limits and session.container_id is not None:
            limits = changed_session(session, changes, self._defaults).spec.limits
            calls.append(lambda at: send_limits(runners, at, limits, changes.limits))
        if calls and session.presence is Presence.PAUSED:
            session = await self._calls.awake(caller, session_id)
        for call in calls:
            await self._calls.call(session, call)

    # --- the conversation

    async def input(
        self,
        caller: Caller,
        session_id: UUID,
        given: str | Sequence[Block],
        *,
        input_id: str | None,
        wait_s: float | None,
        expand: bool = False,
    ) -> Accepted:
        """Send a prompt to the session, resuming it first if necessary; with `wait_s`, also wait for the turn's result.

        `given` is a text or content blocks. The same `input_id` runs at most once. Raises SessionEndedError,
        InvalidRequestError, TooLargeError and CapacityError (its queue is full, or no slot is free to resume it).
        """
        caller.check_may_write()
        text = given if isinstance(given, str) else text_of(given)
        self._defaults.check_not_draining()
        if not text.strip():
            raise InvalidRequestError("input: must not be empty")
        if len(text.encode()) > MAX_INPUT_BYTES:
            raise TooLargeError(f"input: is larger than {MAX_INPUT_BYTES} bytes")
        more: dict[str, Any] = {"expand": True} if expand else {}  # sent only if it is set
        if not isinstance(given, str):
            more["content"] = list(given)
        request = InputRequest(id=input_id or str(uuid4()), input=text, by=caller.subject, **more)
        session, accepted = await self._calls.send_input(caller, session_id, request, is_new=not input_id)
        if not wait_s:
            return accepted
        outcome = await self._outcomes.outcome(session, request.id, accepted.seq, wait_s)
        if isinstance(outcome, Pending):
            return replace(accepted, waiting_for=WaitingFor(outcome.waiting_for), pending=outcome)
        if isinstance(outcome, WaitingFor):
            return replace(accepted, waiting_for=outcome)
        return replace(accepted, result=outcome)

    async def slash_commands(self, caller: Caller, session_id: UUID) -> Sequence[Command]:
        """Return the slash commands of the running agent. Raises ConflictError for a session that is not awake."""
        session = caller.sees(await self._ports.store.load(session_id))
        return (await self._calls.call_awake(session, self._ports.runners.commands)).commands

    async def attachment(self, caller: Caller, session_id: UUID, attachment_id: str) -> bytes:
        """Return the data of an attachment. Raises UnknownRequestError; ConflictError for a session not awake."""
        session = caller.sees(await self._ports.store.load(session_id))
        return await self._calls.call_awake(session, lambda at: self._ports.runners.attachment(at, attachment_id))

    async def note(self, caller: Caller, session_id: UUID, draft: EventDraft) -> None:
        """Record an event of a session without changing the record otherwise. Each call records another one."""
        await self._edit(caller, session_id, lambda session: (replace(session), [draft]))

    async def interrupt(self, caller: Caller, session_id: UUID) -> None:
        """Stop the running turn, if any."""
        caller.check_may_write()
        session = live(caller.sees(await self._ports.store.load(session_id)))
        if session.presence is Presence.AWAKE:
            if session.pending_inputs:  # a turn of theirs is about to begin
                session = await self._calls.awake(caller, session_id)
            await self._ports.runners.interrupt(await self._ports.control_of(session))

    async def answer(self, caller: Caller, session_id: UUID, request_id: str, answer: PermissionAnswer) -> int:
        """Answer a permission, question or connection; return the answer's seq.

        Raises AlreadyAnsweredError for a second answer.
        """
        caller.check_may_answer(answer)
        session = await self._calls.awake(caller, session_id)
        named = answer.model_copy(update={"by": caller.subject})
        if is_egress(request_id):
            return await self._approvals.answer(session, request_id, named)
        accepted = await self._calls.call(session, lambda at: self._ports.runners.answer(at, request_id, named))
        return accepted.seq

    async def token(
        self, caller: Caller, session_id: UUID, scopes: frozenset[Scope], *, rotate: bool = False
    ) -> IssuedToken:
        """Return a new token for the session's URL. With `rotate`, it replaces all tokens that were issued before."""
        if Scope.WRITE in scopes or rotate:
            caller.check_may_write()
        now = self._ports.clock.now()
        if rotate:
            session = await self._edit(caller, session_id, lambda one: (live(one).with_tokens_rotated(now), []))
            self._access.revocation.rotated(session)
        else:
            session = live(caller.sees(await self._ports.store.load(session_id)))
        return self._access.session_tokens.issue_to(caller, session, scopes)

    # --- helpers

    async def _can_start(self, session: Session) -> str:
        """Return how its sandboxes are made. Raises DependencyError, RefusedError or CapacityError if they cannot."""
        self._defaults.check_not_draining()
        with self._ports.traces.part("check engine and disk"):
            recipe = await self._ports.sandboxes.recipe(session.spec.sandbox)
            await self._disk.check()
        return recipe

    async def _revived(self, caller: Caller, session_id: UUID) -> Session:
        """Record the resumption. Retries after a concurrent save: its last output may still be stored."""
        while True:
            session = caller.sees(await self._ports.store.load(session_id))
            if not session.ended:
                raise ConflictError(f"session {session_id} has not ended; send input to it")
            changed, drafts = session.after(Fact.RESUMED, self._ports.clock.now())
            try:
                saved = await self._calls.revived(changed, drafts)
            except StaleError:
                continue
            await self._watchers.saved(saved)
            return saved

    async def _edit(self, caller: Caller, session_id: UUID, change: Edit) -> Session:
        """Change and save a session that the caller sees."""
        return await edit(self._ports.store, self._watchers, session_id, lambda one: change(caller.sees(one)))
