"""Endpoints for the files of a session's workspace."""

import mimetypes
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import JSONResponse, StreamingResponse

from jelmore.api.auth import CallerOf, ContextOf, SessionId, StreamedBodyRoute
from jelmore.api.body_stream import body_pieces
from jelmore.api.conditions import byte_range, entity_tags, http_date
from jelmore.api.parameters import Whole
from jelmore.api.path_parameters import ANY_PATH, exact_path, shown_path
from jelmore.ports import WorkspaceAnswer
from jelmore.session.errors import DependencyError

router = APIRouter(route_class=StreamedBodyRoute, tags=["files"])

_FILE: Final = f"/{{session_id}}/files/{ANY_PATH}"

type Form = Literal["tar", "tar.gz", "zip"]
_MEDIA_TYPES: Final[Mapping[str, str]] = {
    "tar": "application/x-tar",
    "tar.gz": "application/gzip",
    "zip": "application/zip",
}
SAFE: Final = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
"""What the agent wrote is served from our own origin, so a browser must not run it."""


class EntryResponse(BaseModel):
    """An entry of a folder."""

    name: str
    encoded: str | None = Field(
        default=None, description="Only of a name that is no UTF-8 text: how to write it in a URL's path."
    )
    type: Literal["file", "directory", "link", "other"]
    size: int | None = Field(default=None, description="Bytes of a file.")
    modified: float = Field(description="Seconds since 1970.")
    etag: str | None = None
    executable: bool | None = None
    target: str | None = Field(default=None, description="Where a link leads. It is not followed.")


class FolderResponse(BaseModel):
    """The entries of a folder, in the order of their names."""

    path: str
    entries: list[EntryResponse] = Field(max_length=1000)
    next: str | None = Field(default=None, description="Send it as `after` for the next page.")


class WrittenResponse(BaseModel):
    """A file that was written."""

    path: str
    size: int
    etag: str
    modified: float


class ExtractedResponse(BaseModel):
    """What an archive was unpacked to."""

    path: str
    entries: int
    bytes: int


_CONTENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The file, the folder's entries (`FolderResponse`), or the archive.",
        "content": {"application/octet-stream": {}, **{each: {} for each in _MEDIA_TYPES.values()}},
    },
    206: {"description": "The range of the file."},
    304: {"description": "The file has an entity tag of If-None-Match."},
    412: {"description": "The file has no entity tag of If-Match."},
    416: {"description": "The file has no byte of the range."},
}


@router.get("/{session_id}/files", response_model=FolderResponse, name="list_workspace", responses=_CONTENT)
@router.get(_FILE, response_model=FolderResponse, name="get_file", responses=_CONTENT)
async def get_file(
    request: Request,
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    path: str = "",
    *,
    archive: Annotated[Form | None, Query(description="Answer with the folder as one archive.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Entries of a folder on a page."), Whole] = 1000,
    after: Annotated[str, Query(max_length=1024, description="Entries of a folder after this name.")] = "",
) -> Response:
    """Read a file, list a folder, or get a folder as an archive; also of a session that is paused, hibernated or ended.

    It never counts as activity. Links are shown in listings and not followed. `Range`, `If-Range`, `If-Match` and
    `If-None-Match` work on files. A transfer that breaks off has no last chunk.
    """
    head, path = bool(request.scope.get("head")), exact_path(request.scope, path, "files")
    asked: dict[str, Any] = {"op": "get", "path": path, "head": head, "limit": limit, "after": after}
    asked |= _conditions(request)
    asked["range"], asked["if_range"] = byte_range(request.headers.get("range")), request.headers.get("if-range")
    if archive is not None:
        asked = {"op": "archive", "path": path, "form": archive}
    stack = AsyncExitStack()
    try:
        answer = await stack.enter_async_context(context.services.files.read(caller, session_id, asked))
        if archive is not None:
            name = f"{path.rstrip('/').rpartition('/')[2] or session_id}.{archive}"
            return streamed(stack, answer, 200, _archive_headers(name, archive))
        if answer.head.get("kind") == "directory":
            shown = _folder(path, answer.head)
            await stack.aclose()
            return JSONResponse(shown.model_dump(exclude_none=True))
        return await _file(stack, path, answer, head=head)
    except BaseException:
        await stack.aclose()
        raise


async def _file(stack: AsyncExitStack, path: str, answer: WorkspaceAnswer, *, head: bool) -> Response:
    found = answer.head
    try:
        size, etag, modified = int(found["size"]), str(found["etag"]), float(found["modified"])
        etag.encode("ascii")
        headers = {**SAFE, "ETag": etag, "Last-Modified": http_date(modified), "Accept-Ranges": "bytes"}
        headers["Content-Type"] = mimetypes.guess_type(path)[0] or "application/octet-stream"
        status = 200
        if found.get("not_modified"):
            status = 304
        elif found.get("unsatisfiable"):
            status, headers["Content-Range"] = 416, f"bytes */{size}"
        else:
            headers["Content-Length"] = str(int(found["length"]))
            if found.get("range"):
                first, last = found["range"]
                status, headers["Content-Range"] = 206, f"bytes {int(first)}-{int(last)}/{size}"
    except (KeyError, TypeError, ValueError):
        raise unexpected_answer() from None
    if status in {304, 416} or head:
        await stack.aclose()
        return Response(status_code=status, headers=headers)
    return streamed(stack, answer, status, headers)


def streamed(stack: AsyncExitStack, answer: WorkspaceAnswer, status: int, headers: Mapping[str, str]) -> Response:
    """Return a response of the answer's content. However it ends, the helper ends with it."""

    async def content() -> AsyncGenerator[bytes]:
        try:
            async for piece in answer.content:
                yield piece
        finally:
            await stack.aclose()

    return StreamingResponse(content(), status, dict(headers))


@router.put(
    _FILE,
    status_code=201,
    response_model=WrittenResponse | ExtractedResponse,
    name="put_file",
    responses={
        200: {
            "model": WrittenResponse | ExtractedResponse,
            "description": "The file was replaced, or the archive unpacked.",
        },
        201: {"description": "The file is new."},
        412: {"description": "A condition of the request does not hold."},
        507: {"description": "It does not fit into what is left of the workspace's disk."},
    },
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {}}}},
)
async def put_file(
    request: Request,
    response: Response,
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    path: str,
    *,
    extract: Annotated[Form | None, Query(description="Unpack the body, an archive, into this folder.")] = None,
    executable: Annotated[bool, Query(description="The file may be run.")] = False,
) -> WrittenResponse | ExtractedResponse:
    """Write a file from the body, or unpack an archive into a folder. Missing folders are made; the agent owns all.

    A file is replaced at once, when its whole body has arrived; an archive is checked and unpacked before anything of
    it is in place. It is refused with 422 when an entry leaves the folder, is a device or a hard link, or is a link
    that leads out; with 413 when it unpacks to more than 200 times its size.
    """
    length, path = request.headers.get("content-length", ""), exact_path(request.scope, path, "files")
    asked: dict[str, Any] = {"path": path, "length": int(length) if length.isdigit() and len(length) < 19 else None}  # noqa: PLR2004
    if extract is None:
        asked |= {"op": "put", "executable": executable} | _conditions(request)
    else:
        asked |= {"op": "extract", "form": extract}
    body = body_pieces(request, context.config.body_timeout_s)
    found = await context.services.files.change(caller, session_id, asked, body)
    response.status_code = 201 if extract is None and found.get("created") else 200
    try:
        if extract is not None:
            return ExtractedResponse(path=shown_path(path), **found)
        response.headers["ETag"] = str(found["etag"])
        return WrittenResponse(path=shown_path(path), **{name: found[name] for name in ("size", "etag", "modified")})
    except (KeyError, ValidationError):
        raise unexpected_answer() from None


@router.delete(_FILE, status_code=204, name="delete_file")
async def delete_file(
    request: Request,
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    path: str,
    *,
    recursive: Annotated[bool, Query(description="Delete a folder with everything in it.")] = False,
) -> Response:
    """Delete a file, a link, an empty folder or, with `recursive`, any folder. 404 when there is none."""
    path = exact_path(request.scope, path, "files")
    asked = {"op": "delete", "path": path, "recursive": recursive, **_conditions(request)}
    await context.services.files.change(caller, session_id, asked)
    return Response(status_code=204)


def _conditions(request: Request) -> dict[str, Any]:
    return {
        "if_match": entity_tags("If-Match", request.headers.get("if-match")),
        "if_none_match": entity_tags("If-None-Match", request.headers.get("if-none-match")),
    }


def _folder(path: str, head: Mapping[str, Any]) -> FolderResponse:
    try:
        return FolderResponse(path=shown_path(path), entries=head["entries"], next=head.get("next"))
    except (KeyError, ValidationError):
        raise unexpected_answer() from None


def _archive_headers(name: str, form: str) -> dict[str, str]:
    return {
        **SAFE,
        "Content-Type": _MEDIA_TYPES[form],
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(shown_path(name), safe='')}",
    }


def unexpected_answer() -> DependencyError:
    """Return the error for an answer that is not in the form of a workspace helper."""
    return DependencyError("workspace", "the sandbox answered with something that is no answer")
