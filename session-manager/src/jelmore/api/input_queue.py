"""Endpoints for the inputs that wait for the agent."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId
from jelmore.api.fields import Body
from jelmore.api.schemas import Prompt
from jelmore_protocol.bounds import MAX_ID_CHARACTERS

router = APIRouter(route_class=AuthenticatedRoute, tags=["conversation"])

InputId = Annotated[str, Path(max_length=MAX_ID_CHARACTERS)]


class QueuedResponse(BaseModel):
    """An input that waits for the agent."""

    input_id: str
    input: str = Field(description="Cut and marked when all inputs together are larger than 2 MiB.")
    by: str = Field(description="The API key that sent it.")
    seq: int = Field(
        description="The output that recorded it. One that waits for its session has none yet: the newest output."
    )


class QueueResponse(BaseModel):
    """The inputs that wait, in the order in which they will run."""

    session_id: str
    inputs: list[QueuedResponse]


class ChangeInputBody(Body):
    """A new text for a waiting input. Its attachments are dropped."""

    input: Prompt


class QueueChangeResponse(BaseModel):
    """A change of the queue. `seq` is the output that records it."""

    session_id: str
    input_id: str
    seq: int


@router.get("/{session_id}/queue", response_model=QueueResponse, name="list_queue")
async def list_queue(context: ContextOf, caller: CallerOf, session_id: SessionId) -> QueueResponse:
    """List the inputs that wait for a turn, a budget or the session's start. Does not resume the session."""
    waiting = await context.services.queue.waiting(caller, session_id)
    inputs = [QueuedResponse(input_id=each.id, input=each.input, by=each.by, seq=each.seq) for each in waiting]
    return QueueResponse(session_id=str(session_id), inputs=inputs)


@router.patch("/{session_id}/queue/{input_id:path}", response_model=QueueChangeResponse, name="change_queued_input")
async def change_queued_input(
    context: ContextOf, caller: CallerOf, session_id: SessionId, input_id: InputId, body: ChangeInputBody
) -> QueueChangeResponse:
    """Give a waiting input another text; it keeps its place. 409 when the agent has it already."""
    seq = await context.services.queue.change(caller, session_id, input_id, body.input)
    return QueueChangeResponse(session_id=str(session_id), input_id=input_id, seq=seq)


@router.delete("/{session_id}/queue/{input_id:path}", response_model=QueueChangeResponse, name="cancel_queued_input")
async def cancel_queued_input(
    context: ContextOf, caller: CallerOf, session_id: SessionId, input_id: InputId
) -> QueueChangeResponse:
    """Remove a waiting input, so that it never runs. 409 when the agent has it already: interrupt the turn instead."""
    seq = await context.services.queue.cancel(caller, session_id, input_id)
    return QueueChangeResponse(session_id=str(session_id), input_id=input_id, seq=seq)
