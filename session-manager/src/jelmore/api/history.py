"""Endpoints that erase a session and export its conversation."""

from collections.abc import AsyncGenerator
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId
from jelmore.api.messages import KINDS, conversation
from jelmore.api.responses import UtcTime, show
from jelmore.api.services import Context
from jelmore.api.transcript import FORMS, wanted
from jelmore.control.requests import Caller
from jelmore.ports import Page
from jelmore.session.output import Output

router = APIRouter(route_class=AuthenticatedRoute, tags=["history"])


_PAGE_LINES: Final = 500
_HTML_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


class ErasureResponse(BaseModel):
    """The proof of an erasure: what each store held of the session, and what it held afterwards."""

    session_id: str
    erased_at: UtcTime
    erased_by: str = Field(description="The API key that asked for it.")
    found: dict[str, int] = Field(
        description="`workspace` and `redis`: 1 when there was one; `jetstream`: events; else rows of PostgreSQL."
    )
    remaining: dict[str, int] = Field(description="The same, after the erasure: zeros.")


@router.post("/{session_id}/erase", response_model=ErasureResponse, name="erase_session")
async def erase_session(
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    end: Annotated[bool, Query(description="End the session first if it has not ended.")] = False,
) -> ErasureResponse:
    """Erase an ended session for good: workspace, conversation, output, events and record, in every store.

    Sums of what it used by day are kept, and a line of who erased it. May be repeated: an erased session answers with
    the same proof. 409 when it has not ended. Copies in backups and at subscribers of events are not reached.
    """
    proof = await context.services.eraser.erase(caller, session_id, end=end)
    return ErasureResponse(
        session_id=str(proof.session_id),
        erased_at=proof.erased_at,
        erased_by=proof.erased_by,
        found=dict(proof.found),
        remaining=dict(proof.remaining),
    )


@router.get(
    "/{session_id}/transcript",
    name="export_transcript",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The transcript, as a file to save.",
            "content": {form.media_type.partition(";")[0]: {} for form in FORMS.values()},
        }
    },
)
async def export_transcript(
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    *,
    format: Literal["markdown", "json", "html"] = "markdown",  # noqa: A002
    tools: Annotated[bool, Query(description="With what tools were given and returned.")] = True,
    thinking: Annotated[bool, Query(description="With the agent's thinking.")] = False,
) -> StreamingResponse:
    """Export the conversation up to now, live or ended, as one file. It is streamed, however long it is.

    A transfer that breaks off has no end (`]}` or `</html>`) and no last chunk.
    """
    session = await context.services.queries.get(caller, session_id)
    form = FORMS[format]()
    outputs = _Outputs(context, caller, session_id, session.output_seq)
    first = await outputs.next()  # before the answer begins, so that an error is still an error

    async def parts() -> AsyncGenerator[bytes]:
        yield form.head(show(session, context.config.public_url)).encode()
        page = first
        while page:
            for shown in conversation(page):
                if wanted(shown, tools=tools, thinking=thinking):
                    yield form.message(shown).encode()
            page = await outputs.next() if page.more else Page()
        yield form.tail().encode()

    headers = {
        "Content-Disposition": f'attachment; filename="session-{session_id}.{form.extension}"',
        "Content-Security-Policy": _HTML_POLICY,
        "Content-Type": form.media_type,
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(parts(), headers=headers)


class _Outputs:
    """Reads what becomes messages of a session's output, page by page, up to a seq."""

    def __init__(self, context: Context, caller: Caller, session_id: UUID, until: int) -> None:
        self._queries = context.services.queries
        self._of = caller, session_id
        self._after, self._until = 0, until

    async def next(self) -> Page[Output]:
        """Return the next page, empty at the end. Raises DependencyError, UnknownSessionError."""
        page = await self._queries.output(*self._of, self._after, _PAGE_LINES, KINDS)
        if page:
            self._after = page[-1].seq
        before = [output for output in page if output.seq <= self._until]
        return Page(before, more=page.more and len(before) == len(page))
