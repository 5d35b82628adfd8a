"""Endpoints for the people around a session: participants, comments, read marks, invites, and the inbox."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from starlette.requests import Request

from jelmore.api.auth import (
    AuthenticatedRoute,
    BoundedRoute,
    CallerOf,
    ContextOf,
    SessionId,
    counted_attempt,
)
from jelmore.api.cookies import BROWSER_HEADER, GUEST_COOKIE, from_own_page, is_secure
from jelmore.api.parameters import Whole
from jelmore.api.people_bodies import (
    MAX_SEQ,
    PLAIN,
    AcceptBody,
    AcceptedResponse,
    AttendanceResponse,
    CommentBody,
    CommentResponse,
    InboxResponse,
    InviteBody,
    InviteCreatedResponse,
    InviteResponse,
    JoinBody,
    ParticipantResponse,
    ReadBody,
    UnreadResponse,
)
from jelmore.api.responses import urls_of
from jelmore.api.services import Context
from jelmore.control.people import Comment, InviteRequest, Joined
from jelmore.ports.people import InboxEntry, Invite, Participant, ParticipantRole
from jelmore.session.errors import ForbiddenError, JelmoreError, NotFoundError
from jelmore.session.states import SessionStatus, WaitingFor

router = APIRouter(route_class=AuthenticatedRoute, tags=["people"])
top = APIRouter(prefix="/api/v1", route_class=AuthenticatedRoute, tags=["people"])
accepting = APIRouter(prefix="/api/v1", route_class=BoundedRoute, tags=["people"])

_DAY_S: Final = 86400
_GUEST_S: Final = 30 * _DAY_S
"""How long a browser keeps access that has no end."""


async def _invite_id(invite_id: Annotated[str, Path(json_schema_extra={"format": "uuid"})]) -> UUID:
    try:
        return UUID(invite_id)
    except ValueError:
        raise NotFoundError(f"there is no invite {invite_id[:64]}") from None


InviteId = Annotated[UUID, Depends(_invite_id)]


@top.get("/inbox", name="get_inbox", response_model=list[InboxResponse])
async def get_inbox(
    context: ContextOf,
    caller: CallerOf,
    *,
    user: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=128,
            pattern=PLAIN,
            description="The inbox of one of your users: the sessions "
            "with this `user_id`, and those that they take part in.",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500), Whole] = 100,
) -> object:
    """List live sessions and those that ended within a week: what waits for you first, then what you have not read.

    Follow `GET /events/stream` to keep it current: `session.state_changed`, `command.executed`, `comment.posted` and
    `session.read` change it.
    """
    entries = await context.services.people.inbox(caller, user, limit)
    return [_show_entry(entry, context.config.public_url) for entry in entries]


@router.get("/{session_id}/participants", name="list_participants", response_model=list[ParticipantResponse])
async def list_participants(context: ContextOf, caller: CallerOf, session_id: SessionId) -> object:
    """List the people of a session, with what they have read and when they were last seen."""
    return [_show(each) for each in await context.services.people.participants(caller, session_id)]


@router.get("/{session_id}/attendance", name="get_attendance", response_model=AttendanceResponse)
async def get_attendance(context: ContextOf, caller: CallerOf, session_id: SessionId) -> object:
    """Return who has the session open by a stream of the manager, or had it a few seconds ago. Nothing of it is stored.

    `GET …/stream?attendance=true` sends it at each change.
    """
    await context.services.queries.get(caller, session_id)
    return (await context.services.attendance.people(session_id)).to_mapping()


@router.post("/{session_id}/participants", name="join_session", response_model=ParticipantResponse)
async def join_session(
    context: ContextOf, caller: CallerOf, session_id: SessionId, body: JoinBody | None = None
) -> object:
    """Take part in a session under a name, or change the name. Comments and read marks do it too."""
    body = body or JoinBody()
    return _show(await context.services.people.join(caller, session_id, body.user, body.name))


@router.get("/{session_id}/participants/me", name="get_own_participant", response_model=ParticipantResponse)
async def get_own_participant(context: ContextOf, caller: CallerOf, session_id: SessionId) -> object:
    """Return the participant that the caller is."""
    return _show(await context.services.people.own(caller, session_id))


@router.post("/{session_id}/leave", name="leave_session", status_code=204)
async def leave_session(response: Response, context: ContextOf, caller: CallerOf, session_id: SessionId) -> None:
    """Give up the access that an invite gave. Streams and tokens end within a second."""
    await context.services.people.leave(caller, session_id)
    response.delete_cookie(GUEST_COOKIE, path=_cookie_path(session_id), httponly=True, samesite="strict")


@router.delete("/{session_id}/participants/{participant_id}", name="remove_participant", status_code=204)
async def remove_participant(
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    participant_id: Annotated[str, Path(max_length=256, pattern=PLAIN)],
) -> None:
    """Remove a participant. Their credential, tokens and streams end within a second."""
    await context.services.people.remove(caller, session_id, participant_id)


@router.get("/{session_id}/comments", name="list_comments", response_model=list[CommentResponse])
async def list_comments(
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    *,
    after: Annotated[int, Query(ge=0, le=MAX_SEQ, description="Only what has a higher seq."), Whole] = 0,
    limit: Annotated[int, Query(ge=1, le=1000), Whole] = 100,
) -> object:
    """List the comments of a session, in order."""
    found = await context.services.people.comments(caller, session_id, after, limit)
    return [_show_comment(session_id, comment) for comment in found]


@router.post("/{session_id}/comments", name="post_comment", status_code=201, response_model=CommentResponse)
async def post_comment(context: ContextOf, caller: CallerOf, session_id: SessionId, body: CommentBody) -> object:
    """Say something to the other people of a session, also of one that has ended. The agent does not see it."""
    return _show_comment(session_id, await context.services.people.comment(caller, session_id, body.text, body.user))


@router.post("/{session_id}/read", name="mark_read", response_model=ParticipantResponse)
async def mark_read(
    context: ContextOf, caller: CallerOf, session_id: SessionId, body: ReadBody | None = None
) -> object:
    """Mark a session as read, up to a number or to the end."""
    body = body or ReadBody()
    people = context.services.people
    return _show(await people.mark_read(caller, session_id, body.output_seq, body.event_seq, body.user))


@router.post("/{session_id}/invites", name="create_invite", status_code=201, response_model=InviteCreatedResponse)
async def create_invite(
    context: ContextOf, caller: CallerOf, session_id: SessionId, body: InviteBody | None = None
) -> object:
    """Make an invite for people without an API key."""
    body = body or InviteBody()
    request = InviteRequest(ParticipantRole(body.role), body.expires_in_s, body.access_for_s, body.uses)
    invite, text = await context.services.people.invite(caller, session_id, request)
    return InviteCreatedResponse(**_show_invite(invite).model_dump(), invite=text)


@router.get("/{session_id}/invites", name="list_invites", response_model=list[InviteResponse])
async def list_invites(context: ContextOf, caller: CallerOf, session_id: SessionId) -> object:
    """List the invites that can still be used."""
    return [_show_invite(invite) for invite in await context.services.people.invites(caller, session_id)]


@router.delete("/{session_id}/invites/{invite_id}", name="revoke_invite", status_code=204)
async def revoke_invite(
    context: ContextOf,
    caller: CallerOf,
    session_id: SessionId,
    invite_id: InviteId,
    people: Annotated[bool, Query(description="Also remove those who have accepted it.")] = False,
) -> None:
    """Revoke an invite."""
    await context.services.people.revoke_invite(caller, session_id, invite_id, with_people=people)


@accepting.post("/invites/accept", name="accept_invite", status_code=201, response_model=AcceptedResponse)
async def accept_invite(request: Request, context: ContextOf, body: AcceptBody) -> object:
    """Accept an invite; needs no API key. The credential opens the calls of this session that the role allows."""
    with counted_attempt(context, request, body.invite):
        joined = await _accept(request, context, body)
    urls = urls_of(str(joined.participant.session_id), context.config.public_url)
    return AcceptedResponse(
        participant=_show(joined.participant),
        credential=joined.credential,
        session_url=urls.session,
        stream_url=urls.stream,
    )


@accepting.post("/invites/open", name="open_invite", status_code=201, response_model=ParticipantResponse)
async def open_invite(request: Request, response: Response, context: ContextOf, body: AcceptBody) -> object:
    """Accept an invite in a browser, without a key: a cookie that scripts cannot read opens this session's calls."""
    if not from_own_page(request):
        raise ForbiddenError(f"only a page of this server opens an invite, with the header {BROWSER_HEADER}")
    with counted_attempt(context, request, body.invite):
        joined = await _accept(request, context, body)
    participant = joined.participant
    left_s = None if participant.expires_at is None else (participant.expires_at - datetime.now(UTC)).total_seconds()
    response.set_cookie(
        GUEST_COOKIE,
        joined.credential,
        max_age=_GUEST_S if left_s is None else max(1, int(left_s)),
        path=_cookie_path(participant.session_id),
        secure=is_secure(context.config.public_url),
        httponly=True,
        samesite="strict",
    )
    return _show(participant)


async def _accept(request: Request, context: Context, body: AcceptBody) -> Joined:
    """Accept an invite, and let the audit log know the new person: this call has no other credential."""
    people = context.services.people
    joined = await people.accept(body.invite, body.name)
    with suppress(JelmoreError):  # removed in this moment: the next call says so
        request.state.caller = await people.caller_of(joined.credential, joined.participant.session_id)
    return joined


def _cookie_path(session_id: UUID) -> str:
    return f"/api/v1/sessions/{session_id}"


def _show(participant: Participant) -> ParticipantResponse:
    return ParticipantResponse(
        id=participant.id,
        session_id=str(participant.session_id),
        name=participant.name,
        role=participant.role,
        read_output_seq=participant.read_output_seq,
        read_event_seq=participant.read_event_seq,
        joined_at=participant.created_at,
        seen_at=participant.seen_at,
        expires_at=participant.expires_at,
    )


def _show_comment(session_id: UUID, comment: Comment) -> CommentResponse:
    return CommentResponse(
        session_id=str(session_id), seq=comment.seq, author=comment.author, name=comment.name, text=comment.text
    )


def _show_invite(invite: Invite) -> InviteResponse:
    return InviteResponse(
        id=str(invite.id),
        session_id=str(invite.session_id),
        role=invite.role,
        created_by=invite.created_by,
        created_at=invite.created_at,
        expires_at=invite.expires_at,
        access_expires_at=invite.access_expires_at,
        uses_left=invite.uses_left,
    )


def _show_entry(entry: InboxEntry, public_url: str) -> InboxResponse:
    return InboxResponse(
        session_id=str(entry.session_id),
        title=entry.title,
        query=entry.query,
        user_id=entry.user_id,
        status=SessionStatus(entry.status),
        waiting_for=None if entry.waiting_for is None else WaitingFor(entry.waiting_for),
        waiting_for_me=entry.waiting_for_me,
        unread=UnreadResponse(messages=entry.unread_messages, comments=entry.unread_comments),
        read_output_seq=entry.read_output_seq,
        read_event_seq=entry.read_event_seq,
        output_seq=entry.output_seq,
        event_seq=entry.event_seq,
        created_at=entry.created_at,
        last_activity=entry.last_activity_at,
        session_url=urls_of(str(entry.session_id), public_url).session,
    )
