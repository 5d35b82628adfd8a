"""The endpoint that makes a session from another one."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId
from jelmore.api.fields import Body, Line
from jelmore.api.mounts import MountOf
from jelmore.api.responses import CreatedResponse, show_created
from jelmore.api.schemas import Metadata, Prompt
from jelmore.api.sessions import IdempotencyKey, Wait, digested
from jelmore.control.forks import ForkRequest

router = APIRouter(route_class=AuthenticatedRoute, tags=["sessions"])


class ForkBody(Body):
    """What the new session gets. All fields are optional."""

    at_seq: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None,
        description="The turns that had ended at this output are kept, and the files of then. Unset: all, and now.",
    )
    query: Prompt | None = Field(default=None, description="Its first prompt.")
    title: Line | None = None
    metadata: Metadata = Field(default={}, description="Any JSON object up to 16 KiB; a filter of the list.")


@router.post(
    "/{session_id}/fork",
    status_code=201,
    response_model=CreatedResponse,
    name="fork_session",
    responses={
        200: {"model": CreatedResponse, "description": "The session that this Idempotency-Key made before."},
        201: {"description": "A new session. `Location` is its address."},
    },
)
async def fork_session(
    response: Response,
    context: ContextOf,
    caller: CallerOf,
    mount: MountOf,
    session_id: SessionId,
    body: ForkBody | None = None,
    wait: Wait = True,
    idempotency_key: IdempotencyKey = None,
) -> CreatedResponse:
    """Make a session with a copy of this one's workspace, and with its conversation up to the end of a turn.

    Both continue independently. Options and limits are the same, costs begin at zero. With an `at_seq` before later
    turns, the workspace is that of before the next turn; `forked_from.workspace` is `present` when there is no
    snapshot of it, and the copy is of now. 409 when the workspace or the transcript of these turns is gone.
    """
    body = body or ForkBody()
    idempotency = digested(
        idempotency_key, {"fork": str(session_id), **body.model_dump(mode="json", exclude_defaults=True)}
    )
    wanted = ForkRequest(body.at_seq, body.query, body.title, dict(body.metadata))
    created = await context.services.forks.fork(caller, session_id, wanted, idempotency=idempotency, wait=wait)
    response.status_code = 201 if created.is_new else 200
    response.headers["Location"] = f"{mount.prefix}/{created.session.id}"
    if not created.is_new:
        response.headers["Idempotency-Replayed"] = "true"
    return show_created(created, context.config.public_url)
