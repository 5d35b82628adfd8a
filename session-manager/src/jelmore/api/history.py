"""Endpoints that erase a session and export its conversation."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId
from jelmore.api.responses import UtcTime

router = APIRouter(route_class=AuthenticatedRoute, tags=["history"])


class ErasureShown(BaseModel):
    """The proof of an erasure: what each store held of the session, and what it held afterwards."""

    session_id: str
    erased_at: UtcTime
    erased_by: str = Field(description="The API key that asked for it.")
    found: dict[str, int] = Field(
        description="`workspace` and `redis`: 1 when there was one; `jetstream`: events; else rows of PostgreSQL."
    )
    remaining: dict[str, int] = Field(description="The same, after the erasure: zeros.")


@router.post("/{session_id}/erase", response_model=ErasureShown, name="erase_session")
async def erase_session(
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    end: Annotated[bool, Query(description="End the session first if it has not ended.")] = False,
) -> ErasureShown:
    """Erase an ended session for good: workspace, conversation, output, events and record, in every store.

    Sums of what it used by day are kept, and a line of who erased it. May be repeated: an erased session answers with
    the same proof. 409 when it has not ended. Copies in backups and at subscribers of events are not reached.
    """
    proof = await context.services.eraser.erase(caller, session_id, end=end)
    return ErasureShown(
        session_id=str(proof.session_id),
        erased_at=proof.erased_at,
        erased_by=proof.erased_by,
        found=dict(proof.found),
        remaining=dict(proof.remaining),
    )
