"""Endpoints that send input to a session and read its output."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId
from jelmore.api.conversation_responses import (
    AnsweredResponse,
    CommandsResponse,
    EventResponse,
    InputResponse,
    LogsResponse,
    OutputResponse,
    PendingResponse,
    ProbesResponse,
    show_event,
    show_input,
    show_output,
    show_probe,
)
from jelmore.api.event_types import Types, parse_types
from jelmore.api.messages import KINDS, MessageResponse, conversation
from jelmore.api.mounts import MountOf
from jelmore.api.paging import PageOf
from jelmore.api.parameters import Decimal, Whole
from jelmore.api.responses import health_word, urls_of
from jelmore.api.schemas import AnswerBody, InputBody
from jelmore.session.errors import RequestError, SessionEndedError
from jelmore_protocol.events import EventKind

router = APIRouter(route_class=AuthenticatedRoute, tags=["conversation"])


class EndedError(RequestError):
    """Input to an ended session, answered with 400 on the older mount (`Mount.ended_status`)."""

    code = SessionEndedError.code


@router.post(
    "/{session_id}/input",
    status_code=202,
    response_model=InputResponse,
    name="send_input",
    responses={
        200: {"model": InputResponse, "description": "The turn's result came in time."},
        202: {"description": "Accepted; the result is on the stream."},
    },
)
async def send_input(
    response: Response,
    context: ContextOf,
    caller: CallerOf,
    mount: MountOf,
    session_id: SessionId,
    body: InputBody,
    wait: Annotated[
        float | None, Query(ge=0, le=600, description="Seconds to wait for the turn's result."), Decimal
    ] = None,
) -> InputResponse:
    """Send a prompt. It is queued while a turn runs, and resumes a paused or hibernated session.

    Returns 202 when the input is accepted. With `wait`, returns 200 with the turn's `result` if it comes in time, or
    202 with `waiting_for` and `pending` as soon as the agent asks for a permission or an answer, or with
    `waiting_for: budget` when a budget is used up.
    """
    try:
        accepted = await context.services.commands.input(
            caller, session_id, body.input, input_id=body.id, wait_s=wait or None, expand=body.expand
        )
    except SessionEndedError as error:
        if mount.ended_status != 409:  # noqa: PLR2004 - the status of the table
            raise EndedError(str(error)) from None
        raise
    if accepted.result is None and accepted.pending is None:
        await context.services.queries.reflected(session_id, accepted.seq)
    response.status_code = mount.input_status if accepted.result is None else 200
    return show_input(session_id, accepted)


@router.post("/{session_id}/interrupt", status_code=202, name="interrupt")
async def interrupt(context: ContextOf, caller: CallerOf, session_id: SessionId) -> dict[str, str]:
    """Stop the running turn. Does nothing when no turn runs."""
    await context.services.commands.interrupt(caller, session_id)
    return {"session_id": str(session_id)}


@router.get("/{session_id}/commands", response_model=CommandsResponse, name="list_commands")
async def list_commands(context: ContextOf, caller: CallerOf, session_id: SessionId) -> CommandsResponse:
    """List the slash commands that an input with `expand` may begin with: of Claude Code, the repository and plugins.

    409 while the session is not awake: only its agent knows them.
    """
    commands = await context.services.commands.slash_commands(caller, session_id)
    return CommandsResponse(session_id=str(session_id), commands=list(commands))


@router.get(
    "/{session_id}/attachments/{attachment_id}",
    name="get_attachment",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The data."}},
)
async def get_attachment(
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    attachment_id: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")],
) -> Response:
    """Return the data of an image or document that an input refers to as an `attachment`.

    409 while the session is not awake: the data is on its volume. Browsers do not show it as a page.
    """
    content = await context.services.commands.attachment(caller, session_id, attachment_id)
    headers = {"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type="application/octet-stream", headers=headers)


@router.get("/{session_id}/permissions", response_model=PendingResponse, name="list_permissions")
async def list_permissions(context: ContextOf, caller: CallerOf, session_id: SessionId) -> PendingResponse:
    """List the permissions and questions that the agent waits for."""
    pending = await context.services.queries.permissions(caller, session_id)
    return PendingResponse(session_id=str(session_id), pending=list(pending))


@router.post("/{session_id}/permissions/{request_id}", response_model=AnsweredResponse, name="answer_permission")
async def answer_permission(
    context: ContextOf, caller: CallerOf, session_id: SessionId, request_id: str, body: AnswerBody
) -> AnsweredResponse:
    """Answer a permission or question. The first answer counts; later ones get 409."""
    seq = await context.services.commands.answer(caller, session_id, request_id, body.answer())
    await context.services.queries.reflected(session_id, seq)
    return AnsweredResponse(session_id=str(session_id), request_id=request_id, seq=seq, by=caller.subject)


@router.get("/{session_id}/output", response_model=list[OutputResponse], name="list_output")
async def list_output(
    response: Response,
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    page: PageOf,
    kind: Annotated[list[EventKind] | None, Query(description="Only these; may be repeated.")] = None,
) -> list[OutputResponse]:
    """Return stored output in order. The numbers have no gaps, unless `kind` selects some kinds only.

    A page ends at `limit` outputs or 2 MiB. `Link` with `rel="next"` is present when more follow.
    """
    kinds = [each.value for each in kind or []]
    outputs = await context.services.queries.output(caller, session_id, page.after, page.limit, kinds)
    page.add_next_link(response, outputs, urls_of(str(session_id), context.config.public_url).output, kind=kinds)
    return [show_output(output) for output in outputs]


@router.get("/{session_id}/events", response_model=list[EventResponse], name="list_events")
async def list_events(
    response: Response,
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    page: PageOf,
    type: Types = None,  # noqa: A002
) -> list[EventResponse]:
    """Return stored events in order. Events have numbers of their own; `output_seq` is the output they refer to.

    A page ends at `limit` events or 2 MiB of payloads. `Link` with `rel="next"` is present when more follow.
    """
    types = sorted(parse_types(type))
    events = await context.services.queries.events(caller, session_id, page.after, page.limit, types)
    page.add_next_link(response, events, urls_of(str(session_id), context.config.public_url).events, type=types)
    return [show_event(event) for event in events]


@router.get("/{session_id}/messages", response_model=list[MessageResponse], name="list_messages")
async def list_messages(
    response: Response,
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    page: PageOf,
) -> list[MessageResponse]:
    """Return the conversation as messages.

    `limit` counts outputs, and not every output becomes a message. A page also ends at 2 MiB of output. `Link` with
    `rel="next"` is present when more follow.
    """
    outputs = await context.services.queries.output(caller, session_id, page.after, page.limit, KINDS)
    page.add_next_link(response, outputs, f"{urls_of(str(session_id), context.config.public_url).session}/messages")
    return conversation(outputs)


@router.get("/{session_id}/health", response_model=ProbesResponse, name="session_health")
async def session_health(context: ContextOf, caller: CallerOf, session_id: SessionId) -> ProbesResponse:
    """Return the session's health and its last health checks, newest first."""
    session = await context.services.queries.get(caller, session_id)
    probes = await context.services.queries.probes(caller, session_id)
    word = health_word(session)
    if word == "healthy" and probes and not probes[0].healthy:
        word = "unhealthy"
    return ProbesResponse(
        session_id=str(session_id),
        status=word,
        restarts=session.restarts,
        checks=[show_probe(probe) for probe in probes],
    )


@router.get("/{session_id}/logs", response_model=LogsResponse, name="session_logs")
async def session_logs(
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    lines: Annotated[int, Query(ge=1, le=1000), Whole] = 100,
) -> LogsResponse:
    """Return the last lines of the log of the session's runner."""
    tail = await context.services.queries.log_tail(caller, session_id, lines)
    return LogsResponse(session_id=str(session_id), lines=list(tail))
