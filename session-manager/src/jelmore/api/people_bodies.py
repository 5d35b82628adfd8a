"""What the endpoints for people are sent and answer with."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from jelmore.api.responses import UtcTime
from jelmore.ports.people import ParticipantRole
from jelmore.session.states import SessionStatus, WaitingFor
from jelmore_protocol.bounded_shape import BoundedShape

PLAIN: Final = r"^[^\x00-\x1f\x7f]*$"
_DAY_S: Final = 86400
MAX_SEQ: Final = 2**62

UserText = Annotated[str, Field(min_length=1, max_length=128, pattern=PLAIN)]
User = Annotated[UserText | None, Field(description="One of your users for whom you act, under your API key.")]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=PLAIN)]
Seq = Annotated[int, Field(ge=0, le=MAX_SEQ)]


class Body(BoundedShape):
    """A request body."""

    model_config = ConfigDict(extra="forbid")


class JoinBody(Body):
    """Take part, or change the name under which you do."""

    name: Name | None = None
    user: User = None


class CommentBody(Body):
    """A message to the other people of a session. The agent does not see it."""

    text: str = Field(min_length=1, max_length=16_384, pattern=r"^[^\x00]*$")
    user: User = None


class ReadBody(Body):
    """What was read; what is left out counts as read to the end. Marks never move back."""

    output_seq: Seq | None = None
    event_seq: Seq | None = None
    user: User = None


class InviteBody(Body):
    """An invite to a session."""

    role: Literal["editor", "approver", "viewer"] = Field(
        "viewer",
        description="A viewer may read and comment, an approver also answer what the session waits for, an editor also "
        "prompt and interrupt.",
    )
    expires_in_s: int = Field(_DAY_S, ge=60, le=30 * _DAY_S, description="How long it can be accepted.")
    access_for_s: int | None = Field(
        None, ge=60, le=365 * _DAY_S, description="How long who accepts it has access, from now. Unset: until removed."
    )
    uses: int = Field(1, ge=1, le=100, description="How many people may accept it.")


class AcceptBody(Body):
    """An invite, and the name under which its holder takes part."""

    invite: str = Field(min_length=1, max_length=256)
    name: Name


class ParticipantResponse(BaseModel):
    """A person of a session, and what they have read."""

    id: str
    session_id: str
    name: str
    role: ParticipantRole
    read_output_seq: int
    read_event_seq: int
    joined_at: UtcTime
    seen_at: UtcTime = Field(description="When they last did something here.")
    expires_at: UtcTime | None


class AttendeeResponse(BaseModel):
    """A person with an open stream of a session."""

    id: str = Field(description="That of a participant; of the holder of a key, the id of the key.")
    name: str
    role: ParticipantRole
    since: UtcTime


class AttendanceResponse(BaseModel):
    """Who has a session open. `more` are not listed."""

    people: list[AttendeeResponse]
    more: int


class CommentResponse(BaseModel):
    """A comment. `seq` is that of its event, `comment.posted`."""

    session_id: str
    seq: int
    author: str
    name: str
    text: str


class InviteResponse(BaseModel):
    """An invite that can be used."""

    id: str
    session_id: str
    role: ParticipantRole
    created_by: str
    created_at: UtcTime
    expires_at: UtcTime
    access_expires_at: UtcTime | None
    uses_left: int


class InviteCreatedResponse(InviteResponse):
    """A new invite. `invite` is shown here only: hand it to the person, for example in the fragment of a link."""

    invite: str


class AcceptedResponse(BaseModel):
    """Access to a session. `credential` is shown here only; send it as an API key to the calls of this session."""

    participant: ParticipantResponse
    credential: str
    session_url: str
    stream_url: str


class UnreadResponse(BaseModel):
    """What a person has not read; counts stop at 100."""

    messages: int
    comments: int


class InboxResponse(BaseModel):
    """A session in an inbox."""

    session_id: str
    title: str | None
    query: str | None
    user_id: str | None
    status: SessionStatus
    waiting_for: WaitingFor | None
    waiting_for_me: bool = Field(description="It waits for an answer, not only for the next prompt.")
    unread: UnreadResponse
    read_output_seq: int
    read_event_seq: int
    output_seq: int
    event_seq: int
    created_at: UtcTime
    last_activity: UtcTime
    session_url: str
