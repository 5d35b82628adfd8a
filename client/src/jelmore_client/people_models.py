"""What the API returns about people and their sessions. Readers are tolerant, as `models.py` says."""

from datetime import datetime

from pydantic import Field

from jelmore_client.models import Model


class Participant(Model):
    """A person of a session. `role` is owner, editor, approver or viewer; the numbers are what they have read."""

    id: str
    session_id: str
    name: str
    role: str
    read_output_seq: int = 0
    read_event_seq: int = 0
    joined_at: datetime | None = None
    seen_at: datetime | None = None
    expires_at: datetime | None = None


class Comment(Model):
    """What a person said to the others. `seq` is its number among the session's events."""

    seq: int
    session_id: str
    author: str
    name: str = ""
    text: str


class Invite(Model):
    """Lets people without a key take part in a session."""

    id: str
    session_id: str
    role: str
    uses_left: int = 0
    created_at: datetime | None = None
    created_by: str = ""
    expires_at: datetime | None = None
    access_expires_at: datetime | None = None


class NewInvite(Invite):
    """An invite with its text, which is shown once."""

    invite: str


class AcceptedInvite(Model):
    """What an invite opened. `credential` is the `api_key` of a client for this session."""

    credential: str
    participant: Participant
    session_url: str = ""
    stream_url: str = ""


class Unread(Model):
    """How much of a session a person has not read."""

    messages: int = 0
    comments: int = 0


class InboxEntry(Model):
    """A session as one person sees it."""

    session_id: str
    status: str
    title: str | None = None
    query: str | None = None
    user_id: str | None = None
    waiting_for: str | None = None
    waiting_for_me: bool = False
    unread: Unread = Unread()
    output_seq: int = 0
    event_seq: int = 0
    read_output_seq: int = 0
    read_event_seq: int = 0
    session_url: str = ""
    created_at: datetime | None = None
    last_activity: datetime | None = None


class Attendee(Model):
    """A person who has a session open."""

    id: str
    name: str
    role: str
    since: datetime | None = None


class Attendance(Model):
    """Who has a session open; `more` counts those that are not listed."""

    people: list[Attendee] = Field(default_factory=list)
    more: int = 0


class Ticket(Model):
    """A credential for one stream, which may stand in its URL as `?ticket=`."""

    ticket: str
    expires_at: datetime
