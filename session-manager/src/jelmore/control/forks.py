"""Sessions from others: with a copy of another one's workspace, and in a fork its conversation up to a turn.

The workspace is copied before anything is stored, the transcript right after; the reconciler waits for it. So a session
either begins with its whole past or does not begin.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.files import NO_LIMIT_BYTES
from jelmore.control.repositories import Repositories
from jelmore.control.requests import Caller, Created, CreateRequest
from jelmore.control.sessions import SessionCommands, SessionQueries
from jelmore.control.workspaces import Workspaces
from jelmore.ports import Clock, Idempotency, OutputStore, WorkspaceAnswer
from jelmore.ports.transcripts import TranscriptStore
from jelmore.session.errors import (
    ConflictError,
    DependencyError,
    InvalidRequestError,
    TooLargeError,
    UnknownSessionError,
    WorkspaceLostError,
)
from jelmore.session.events import EventDraft, EventType
from jelmore.session.record import Session
from jelmore.session.turns import KINDS, Turns, turns_up_to
from jelmore_protocol.transcripts import prompt_uuid

_log = structlog.get_logger(__name__)

_PAGE: Final = 1000
_PACK: Final = {"op": "archive", "path": "", "form": "tar"}

SNAPSHOT: Final = "snapshot"
PRESENT: Final = "present"
"""Of which moment the workspace of a fork is: of its point, or of when it was made."""


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """What the new session gets. `at_seq` is an output of the old one; None is the newest."""

    at_seq: int | None = None
    query: str | None = None
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class Forks:
    """Makes sessions from others."""

    def __init__(
        self,
        outputs: OutputStore,
        transcripts: TranscriptStore,
        workspaces: Workspaces,
        repositories: Repositories,
        queries: SessionQueries,
        commands: SessionCommands,
        clock: Clock,
        disk: DiskCapacity,
    ) -> None:
        self._outputs = outputs
        self._transcripts = transcripts
        self._workspaces = workspaces
        self._repositories = repositories
        self._queries = queries
        self._commands = commands
        self._clock = clock
        self._disk = disk

    async def fork(
        self, caller: Caller, session_id: UUID, request: ForkRequest, *, idempotency: Idempotency | None, wait: bool
    ) -> Created:
        """Create a session from another one; see `SessionCommands.create` for what it raises.

        The turns that had ended at `at_seq` are kept. The workspace is the one before the next turn, if `at_seq` is
        given, a turn has started since and there is a snapshot of it; else the one of now. `forked_from` says which.
        """
        caller.check_may_write()
        source = await self._queries.get(caller, session_id)
        at_seq = source.output_seq if request.at_seq is None else request.at_seq
        if at_seq > source.output_seq:
            raise InvalidRequestError(f"at_seq: the session is at {source.output_seq}")
        turns = await self._turns(session_id, at_seq)
        cut = await self._transcripts.cut(session_id, _uuids(turns.kept), _uuids(turns.dropped))
        if turns.kept and not cut.messages and source.usage.turns:
            raise ConflictError("the database has no transcript of these turns")
        origin = {"session_id": str(session_id), "seq": at_seq, "messages": cut.messages}
        made = _made(caller, source, request, origin, self._clock)

        async def copy_transcript(stored: Session) -> None:
            await self._transcripts.copy(session_id, stored.id, cut)

        created = await self._commands.create_made(
            caller,
            made,
            {"forked_from": origin},
            idempotency=idempotency,
            wait=wait,
            prepare=lambda session: self._forked(session, source, None if request.at_seq is None else turns.next_seq),
            filled=copy_transcript,
        )
        if created.is_new:
            workspace = created.session.spec.forked_from.get("workspace", PRESENT)
            payload = {"fork": str(created.session.id), "at_seq": at_seq, "workspace": workspace}
            await self._commands.note(caller, session_id, EventDraft(EventType.SESSION_FORKED, payload))
        return created

    @asynccontextmanager
    async def prepared(self, caller: Caller, request: CreateRequest, session: Session) -> AsyncGenerator[Session]:
        """Yield the session with the workspace that its create asks for: a repository, the copy of a base, or nothing.

        An exception inside removes the workspace again. Raises InvalidRequestError for a base that the caller does not
        see, and what `copied` and `Repositories.prepared` raise.
        """
        if request.base is None:
            async with self._repositories.prepared(session, request.repository) as prepared:
                yield prepared
            return
        try:
            source = await self._queries.get(caller, request.base)
        except UnknownSessionError:
            raise InvalidRequestError(f"base: there is no session {request.base}") from None
        # Its files are those of the source's repository, if it has one: comparisons and pushes work as they do there.
        spec = replace(session.spec, base=str(source.id), repository=source.spec.repository)
        async with self.copied(replace(session, spec=spec), source) as copied:
            yield copied

    @asynccontextmanager
    async def copied(self, session: Session, source: Session) -> AsyncGenerator[Session]:
        """Yield the session with a copy of the source's workspace. An exception inside removes the copy again.

        Raises WorkspaceLostError when the source has none, and what a full workspace raises.
        """
        async with self._repositories.kept_if_created(session):
            async with self._workspaces.call(source, _PACK) as packed:
                await self._unpack(session, packed)
            yield session

    @asynccontextmanager
    async def _forked(self, session: Session, source: Session, next_seq: int | None) -> AsyncGenerator[Session]:
        """Yield the session with a copy of the source's workspace as it was before the turn of `next_seq`.

        With None, or where there is no such snapshot, the copy is of the present one; the record says so. Raises what
        `copied` raises.
        """
        async with self._repositories.kept_if_created(session):
            async with AsyncExitStack() as open_until:
                workspace, packed = SNAPSHOT, await self._packed_before(open_until, source, next_seq)
                if packed is None:
                    workspace, packed = (
                        PRESENT,
                        await open_until.enter_async_context(self._workspaces.call(source, _PACK)),
                    )
                await self._unpack(session, packed)
            origin = {**session.spec.forked_from, "workspace": workspace}
            yield replace(session, spec=replace(session.spec, forked_from=origin))

    async def _packed_before(
        self, open_until: AsyncExitStack, source: Session, next_seq: int | None
    ) -> WorkspaceAnswer | None:
        """Return the packed workspace of before a turn; None without a snapshot of it, or from an older runner."""
        if next_seq is None:
            return None
        try:
            asked = {"op": "archive_turn", "seq": next_seq}
            return await open_until.enter_async_context(self._workspaces.call(source, asked))
        except WorkspaceLostError:
            raise
        except (ConflictError, TooLargeError, DependencyError) as error:
            _log.warning("fork_without_snapshot", session_id=str(source.id), seq=next_seq, error=str(error))
            return None

    async def _unpack(self, session: Session, packed: WorkspaceAnswer) -> None:
        await self._disk.check()
        most_bytes = session.spec.limits.workspace_bytes or NO_LIMIT_BYTES
        asked = {"op": "extract", "path": "", "form": "tar", "most_bytes": most_bytes, "copy": True}
        async with self._workspaces.fresh(session.id, asked, packed.content):
            pass

    async def _turns(self, session_id: UUID, at_seq: int) -> Turns:
        outputs, after = [], 0
        while page := await self._outputs.output(session_id, after, _PAGE, KINDS, max_bytes=4 * 2**20):
            outputs += [(output.seq, output.kind, output.data) for output in page]
            after = page[-1].seq
        return turns_up_to(outputs, at_seq)


def _uuids(input_ids: tuple[str, ...]) -> list[str]:
    return [prompt_uuid(input_id) for input_id in input_ids]


def _made(caller: Caller, source: Session, request: ForkRequest, origin: dict[str, Any], clock: Clock) -> Session:
    """Return the record of the new session: the source's options, and nothing of its state."""
    now = clock.now()
    return Session(
        id=uuid7(),
        owner=caller.key.id,
        spec=replace(
            source.spec,
            query=request.query,
            acts_for_user=caller.acts_for(source.spec.user_id),
            forked_from=origin,
            base=None,
        ),
        created_at=now,
        last_activity_at=now,
        since=now,
        title=request.title or (f"Fork of {source.title}"[:256] if source.title else None),
        tags=source.tags,
        metadata=request.metadata,
    )
