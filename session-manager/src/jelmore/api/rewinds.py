"""The endpoint that takes a session back to before a prompt."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId
from jelmore.api.fields import Body
from jelmore.control.rewinds import RewindWanted

router = APIRouter(route_class=AuthenticatedRoute, tags=["conversation"])


class RewindBody(Body):
    """How far back, and what."""

    to_seq: Annotated[int, Field(ge=1, le=2**53)] = Field(
        description="The output of a prompt (kind `input`): it and all that followed are taken back."
    )
    files: bool = Field(default=True, description="Take the files of the workspace back, also what commands changed.")
    conversation: bool = Field(default=True, description="Let the agent forget the prompt and all that followed.")


class RewindResponse(BaseModel):
    """A rewind. `seq` is the output (kind `rewound`) that records it."""

    session_id: str
    seq: int
    to_seq: int
    files: bool
    conversation: bool


@router.post("/{session_id}/rewind", response_model=RewindResponse, name="rewind_session")
async def rewind_session(
    context: ContextOf, caller: CallerOf, session_id: SessionId, body: RewindBody
) -> RewindResponse:
    """Take files and conversation back to before a prompt. What was stored as output stays.

    Ignored files and commits of the workspace's repository stay as they are. It may be repeated. 409 while a turn runs
    or inputs wait, without a snapshot of that turn, or when the conversation has no such prompt; nothing changes then.
    """
    wanted = RewindWanted(body.to_seq, body.files, body.conversation)
    seq = await context.services.rewinds.rewind(caller, session_id, wanted)
    return RewindResponse(session_id=str(session_id), seq=seq, **body.model_dump())
