"""Endpoints for the git repository in a session's workspace."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId
from jelmore.api.files import SAFE, streamed, unexpected_answer
from jelmore.api.repository_body import PushBody, PushResponse
from jelmore.api.services import Context
from jelmore.control.requests import Caller
from jelmore.session.errors import ConflictError, InvalidRequestError
from jelmore_protocol.bounded_shape import BoundedShape

router = APIRouter(route_class=AuthenticatedRoute, tags=["files"])

_PATCH: Final = "text/x-diff"
_LINE: Final = r"^[^\x00-\x1f\x7f<>]*[^\x00-\x20\x7f<>][^\x00-\x1f\x7f<>]*$"

Since = Annotated[
    str,
    Query(
        alias="from",
        max_length=256,
        description="A commit, branch or tag of the workspace's repository. Without it, the last commit.",
    ),
]


Against = Annotated[
    str,
    Query(
        max_length=256,
        description="`start` for the commit that the session's `repository` began with; without a repository, for the "
        "workspace before the first turn. Else the same as `from`.",
    ),
]


Turn = Annotated[
    str,
    Query(
        max_length=256,
        description="The prompt of a turn, by the `seq` of its output or by its input id: compare with the workspace "
        "as it was before. Needs no repository.",
    ),
]


class ChangedFileResponse(BaseModel):
    """A file that differs."""

    path: str
    old_path: str | None = Field(default=None, description="Of a renamed or copied file.")
    status: Literal["added", "deleted", "modified", "renamed", "copied", "type_changed"]
    additions: int
    deletions: int
    binary: bool


class DiffResponse(BaseModel):
    """What differs between a commit and the workspace as it is, new files included."""

    base: str = Field(description="The commit, or the snapshot before a turn, that the workspace is compared with.")
    head: str | None = Field(default=None, description="The workspace's own commit, without its uncommitted changes.")
    changed: int = Field(description="Files that differ.")
    additions: int
    deletions: int
    files: list[ChangedFileResponse]
    truncated: bool = Field(description="Whether `files` has only the first 5,000.")


class AuthorBody(BoundedShape):
    """The author of a commit."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200, pattern=_LINE)
    email: str = Field(min_length=1, max_length=200, pattern=_LINE)


class CommitBody(BoundedShape):
    """What is committed: everything in the workspace that the repository does not ignore."""

    model_config = ConfigDict(extra="forbid")

    message: str = Field(min_length=1, max_length=16_384, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")
    author: AuthorBody | None = None


class CommitResponse(BaseModel):
    """The workspace's commit."""

    commit: str
    created: bool = Field(description="False when there was nothing to commit.")


@router.get(
    "/{session_id}/diff",
    response_model=DiffResponse,
    name="diff_workspace",
    responses={200: {"content": {_PATCH: {}}, "description": "The diff, as JSON or as a patch."}},
)
async def diff_workspace(
    request: Request,
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    since: Since = "",
    against: Against = "",
    turn: Turn = "",
    form: Annotated[
        Literal["json", "unified"] | None, Query(alias="format", description="Without it, by the Accept header.")
    ] = None,
) -> Response:
    """Return what differs between a commit and the workspace: per file as JSON, or as a unified diff.

    Uncommitted and new files count. The unified diff only names binary files. 409 when the workspace is not
    a git repository, or there is no snapshot of the turn; 404 without such a commit or input.
    """
    compared = await _compared(context, caller, session_id, since, against, turn)
    accept = request.headers.get("accept", "")
    unified = form == "unified" or (form is None and (_PATCH in accept or "text/plain" in accept))
    if unified:
        return await _download(context, caller, session_id, {**compared, "form": "text"}, _PATCH, None)
    asked = {**compared, "form": "json"}
    async with context.services.files.read(caller, session_id, asked) as answer:
        shown = _shown(DiffResponse, answer.head)
    return JSONResponse(shown.model_dump())


@router.get(
    "/{session_id}/patch", name="get_patch", responses={200: {"content": {_PATCH: {}}, "description": "A patch."}}
)
async def get_patch(
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    since: Since = "",
    against: Against = "",
    turn: Turn = "",
) -> Response:
    """Return the same as `…/diff`, as a file for `git apply`, with the content of binary files."""
    asked = {**await _compared(context, caller, session_id, since, against, turn), "form": "patch"}
    return await _download(context, caller, session_id, asked, _PATCH, f"session-{session_id}.patch")


@router.get(
    "/{session_id}/bundle",
    name="get_bundle",
    responses={200: {"content": {"application/octet-stream": {}}, "description": "A git bundle with the ref HEAD."}},
)
async def get_bundle(
    context: ContextOf, caller: CallerOf, session_id: SessionId, since: Since = "", against: Against = ""
) -> Response:
    """Return the workspace's commits as a git bundle: `git fetch FILE HEAD:a-branch` takes them into a repository.

    With `from`, only the commits after it. 409 when there are none.
    """
    since = await _since(context, caller, session_id, since, against)
    asked = {"op": "bundle", "from": since}
    name = f"session-{session_id}.bundle"
    return await _download(context, caller, session_id, asked, "application/octet-stream", name)


@router.post("/{session_id}/commit", response_model=CommitResponse, name="commit_workspace")
async def commit_workspace(
    context: ContextOf, caller: CallerOf, session_id: SessionId, body: CommitBody
) -> CommitResponse:
    """Commit everything in the workspace. No hook of the repository runs. Without changes, nothing is committed."""
    asked = {"op": "commit", "message": body.message, "author": body.author.model_dump() if body.author else None}
    return _shown(CommitResponse, await context.services.files.change(caller, session_id, asked))


@router.post("/{session_id}/push", response_model=PushResponse, name="push_workspace")
async def push_workspace(context: ContextOf, caller: CallerOf, session_id: SessionId, body: PushBody) -> PushResponse:
    """Push the workspace's commits to a branch, without force, with a credential that the session never gets.

    What is not committed stays behind: `POST …/commit` first. 409 when the branch has commits that the workspace does
    not have, 422 `repository_failed` when the server refuses.
    """
    done = await context.services.pushes.push(caller, session_id, body.wanted())
    return PushResponse(url=done.url, branch=done.branch, commit=done.commit, pushed=done.pushed)


async def _compared(
    context: Context, caller: Caller, session_id: Any, since: str, against: str, turn: str
) -> dict[str, Any]:
    """Return the helper's call for a comparison, without its form. Raises InvalidRequestError for two of them."""
    if turn and (since or against):
        raise InvalidRequestError("turn: give one of `from`, `against` and `turn`")
    rewinds = context.services.rewinds
    if turn:
        return {"op": "diff_turn", "seq": await rewinds.seq_of(caller, session_id, turn)}
    if against == "start" and not since and await _start(context, caller, session_id) is None:
        return {"op": "diff_turn", "seq": await rewinds.first_turn(session_id)}
    return {"op": "diff", "from": await _since(context, caller, session_id, since, against)}


async def _since(context: Context, caller: Caller, session_id: Any, since: str, against: str) -> str:
    """Return the commit to compare with. Raises InvalidRequestError, ConflictError without a recorded start."""
    if since and against:
        raise InvalidRequestError("against: give `from` or `against`, not both")
    if against != "start":
        return since or against
    started = await _start(context, caller, session_id)
    if started is None:
        raise ConflictError("the session was not created with a repository, so it has no commit that it started from")
    return started


async def _start(context: Context, caller: Caller, session_id: Any) -> str | None:
    """Return the commit that the session started from; None when it was not created with a repository."""
    started = (await context.services.queries.get(caller, session_id)).spec.repository.get("commit")
    return str(started) if started else None


async def _download(
    context: Context, caller: Caller, session_id: Any, asked: Mapping[str, Any], media_type: str, name: str | None
) -> Response:
    headers = {**SAFE, "Content-Type": media_type}
    if name is not None:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    stack = AsyncExitStack()
    try:
        answer = await stack.enter_async_context(context.services.files.read(caller, session_id, asked))
    except BaseException:
        await stack.aclose()
        raise
    return streamed(stack, answer, 200, headers)


def _shown[M: BaseModel](shape: type[M], head: Mapping[str, Any]) -> M:
    try:
        return shape.model_validate(head)
    except ValidationError:
        raise unexpected_answer() from None
