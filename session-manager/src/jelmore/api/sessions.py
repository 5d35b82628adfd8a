"""Endpoints that create, list, change and end sessions."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request, Response

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId, UploadRoute
from jelmore.api.mounts import MountOf
from jelmore.api.paging import page_headers
from jelmore.api.profiles import create_request
from jelmore.api.responses import (
    ChangedResponse,
    CreatedResponse,
    SessionResponse,
    TokenResponse,
    show,
    show_changed,
    show_created,
    show_token,
)
from jelmore.api.schemas import ChangeBody, CreateBody, TokenBody
from jelmore.api.session_filters import ListQueryOf, kept_parameters
from jelmore.api.upload_parts import UPLOAD_BODY
from jelmore.control.sessions import Prepare
from jelmore.control.uploads import Upload
from jelmore.ports import Idempotency
from jelmore.session.errors import InvalidRequestError

router = APIRouter(route_class=AuthenticatedRoute, tags=["sessions"])
creating = APIRouter(route_class=UploadRoute, tags=["sessions"])

MAX_KEY_CHARACTERS: Final = 255

Wait = Annotated[bool, Query(description="Answer only when it is done; 0 answers at once.")]
WorkspaceKind = Annotated[
    Literal["kept", "new"],
    Query(description="`new`: an empty workspace in place of one that is gone; 409 when it is there."),
]
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="The same key and body again answer with the session made first."),
]


@creating.post(
    "",
    status_code=201,
    response_model=CreatedResponse,
    name="create_session",
    openapi_extra=UPLOAD_BODY,
    responses={
        200: {"model": CreatedResponse, "description": "The session that this Idempotency-Key made before."},
        201: {"description": "A new session. `Location` is its address."},
        507: {"description": "The files do not fit into the workspace."},
    },
)
async def create_session(
    request: Request,
    response: Response,
    context: ContextOf,
    caller: CallerOf,
    mount: MountOf,
    body: CreateBody | None = None,
    wait: Wait = True,
    idempotency_key: IdempotencyKey = None,
) -> CreatedResponse:
    """Create a session. Returns when its WebSocket accepts connections, or at once with `wait=0`.

    The body is optional: without it, the session waits for its first input. With `repository`, it is fetched first,
    also with `wait=0`: 422 `repository_failed` when it cannot be, and then there is no session. With `base`, the
    workspace of that session is copied first in the same way: 422 when the caller may not read it, 409 when it is gone.
    As `multipart/form-data`, with this body in the first part, `session`, the workspace begins with the files of the
    other parts, on top of these: 422 names the part that is refused, and then there is no session. A repeated
    `Idempotency-Key` returns the session created by the first request, with 200 and `Idempotency-Replayed: true`.
    """
    body = body or CreateBody()
    wanted = create_request(body, context.services.profiles, mount.timeout_s)
    idempotency = digested(idempotency_key, body.model_dump(mode="json", exclude_defaults=True))
    services = context.services
    prepare: Prepare = nullcontext
    if wanted.repository is not None or wanted.base is not None:
        prepare = partial(services.forks.prepared, caller, wanted)
    upload: Upload | None = request.state.upload
    if upload is None:
        created = await services.commands.create(caller, wanted, idempotency=idempotency, wait=wait, prepare=prepare)
    else:
        created = await services.uploads.create(caller, wanted, upload, prepare, idempotency=idempotency, wait=wait)
    response.status_code = mount.create_status if created.is_new else 200
    response.headers["Location"] = f"{mount.prefix}/{created.session.id}"
    if not created.is_new:
        response.headers["Idempotency-Replayed"] = "true"
    return show_created(created, context.config.public_url)


@router.get("", response_model=list[SessionResponse], name="list_sessions")
async def list_sessions(
    response: Response, context: ContextOf, caller: CallerOf, mount: MountOf, query: ListQueryOf
) -> list[SessionResponse]:
    """List sessions, newest first; archived sessions only on request.

    `metadata.NAME=VALUE` filters by metadata, and `metadata.NAME[gte]=VALUE` (also `gt`, `lte`, `lt`) by numbers, dates
    and times in it.
    `X-Total-Count` is the number of matching sessions, up to 1,000 with `q`; `Link` with `rel="next"` is the next page.
    """
    page, total = await context.services.queries.list(caller, query)
    url = f"{context.config.public_url}{mount.prefix}"
    response.headers.update(page_headers(page, total, query, url, kept_parameters(query)))
    return [show(session, context.config.public_url) for session in page]


@router.get("/stats", name="session_stats")
async def session_stats(context: ContextOf, caller: CallerOf) -> dict[str, object]:
    """Return the number of sessions per status, and of used and total slots."""
    stats = await context.services.queries.stats(caller)
    return dict(stats.to_mapping())


@router.get("/{session_id}", response_model=SessionResponse, name="get_session")
async def get_session(context: ContextOf, caller: CallerOf, session_id: SessionId) -> SessionResponse:
    """Return a session. Reading it does not count as activity: it does not postpone the timeout."""
    session = await context.services.queries.get(caller, session_id)
    return show(session, context.config.public_url)


@router.patch("/{session_id}", response_model=ChangedResponse, name="change_session")
async def change_session(
    context: ContextOf, caller: CallerOf, session_id: SessionId, body: ChangeBody
) -> ChangedResponse:
    """Change a session: title, metadata, tags, times, limits, archiving, and the options of its agent.

    Fields that are left out keep their value. Model, permission mode, effort and `answer_within_s` change in the
    running conversation. Other options of the agent need a new process of it: `restarted_for` names them, the
    conversation is resumed, and while a turn runs they are refused with 409. The timeout of a session that has ended or
    is being ended cannot be changed: 409 `session_ended`. What its profile fixes or bounds is refused with 422.
    """
    changed = await context.services.commands.change(caller, session_id, body.changes())
    if body.budget_usd is not None:
        context.services.budgets.changed(session_id)
    return show_changed(changed, context.config.public_url)


@router.delete("/{session_id}", response_model=SessionResponse, name="delete_session")
async def delete_session(
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    reason: Annotated[str, Query(max_length=256, pattern=r"^[^\x00]*$")] = "deleted",
    wait: Wait = True,
) -> SessionResponse:
    """End a session: interrupt the agent, wait up to ten seconds, then kill it.

    Its record, output and workspace are kept until their retention ends. May be repeated: an ended session is
    returned unchanged.
    """
    session = await context.services.commands.delete(caller, session_id, reason=reason or "deleted", wait=wait)
    return show(session, context.config.public_url)


@router.post("/{session_id}/resume", response_model=SessionResponse, name="resume_session")
async def resume_session(
    context: ContextOf, caller: CallerOf, session_id: SessionId, wait: Wait = True, workspace: WorkspaceKind = "kept"
) -> SessionResponse:
    """Start an ended session again, with its conversation and workspace. 409 when it has not ended.

    409 also when its workspace is gone. Then `workspace=new` resumes the conversation, which the database has too, in
    an empty workspace.
    """
    make = context.services.workspaces.make if workspace == "new" else None
    session = await context.services.commands.resume(caller, session_id, wait=wait, make_workspace=make)
    return show(session, context.config.public_url)


@router.post("/{session_id}/restart", response_model=SessionResponse, name="restart_session")
async def restart_session(context: ContextOf, caller: CallerOf, session_id: SessionId) -> SessionResponse:
    """Replace the container of a live session; conversation and workspace are kept, a running turn is lost."""
    session = await context.services.commands.restart(caller, session_id)
    return show(session, context.config.public_url)


@router.post("/{session_id}/token", response_model=TokenResponse, name="renew_token")
async def renew_token(
    context: ContextOf, caller: CallerOf, session_id: SessionId, body: TokenBody | None = None
) -> TokenResponse:
    """Issue a new token for the session's own URL. Earlier tokens stay valid, each until it expires.

    With `rotate`, the new token replaces all earlier ones of the session: they are refused at once, and connections
    that were opened with them close within about a second. Tokens from before the end of a session do not count
    again when it is resumed.
    """
    body = body or TokenBody()
    token = await context.services.commands.token(caller, session_id, body.wanted(), rotate=body.rotate)
    return show_token(session_id, token, context.config.public_url)


def digested(key: str | None, body: Mapping[str, Any]) -> Idempotency | None:
    """Return the key with a digest of the parsed body without defaults. Raises InvalidRequestError.

    Neither its formatting matters, nor a field that a newer version adds between a request and its repetition.
    """
    if key is None:
        return None
    if not key or len(key) > MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        raise InvalidRequestError(f"Idempotency-Key: must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters")
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Idempotency(key, hashlib.sha256(canonical.encode()).hexdigest())
