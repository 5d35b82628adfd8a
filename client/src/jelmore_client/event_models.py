"""What the API returns about events and webhooks. Readers are tolerant, as `models.py` says."""

from datetime import datetime
from typing import Any

from pydantic import Field

from jelmore_client.models import Model


class PublishedEvent(Model):
    """An event of a session. `seq` counts the session's events, `output_seq` is the output that it refers to."""

    event_id: str
    event_type: str
    session_id: str
    seq: int
    output_seq: int | None = None
    timestamp: datetime
    payload: dict[str, Any] = Field(default_factory=dict)


class LoggedEvent(PublishedEvent):
    """An event in the order of all sessions. `position` is the cursor to continue from."""

    position: int
    user_id: str | None = None


class Webhook(Model):
    """A URL that is called with events. `secret` signs the calls, and is shown only when it was made."""

    id: str
    url: str
    events: list[str] = Field(default_factory=list)
    waiting_for: list[str] = Field(default_factory=list)
    session_id: str | None = None
    user_id: str | None = None
    description: str = ""
    enabled: bool = True
    owner: str = ""
    created_at: datetime | None = None


class NewWebhook(Webhook):
    """A webhook with the secret that it was given now; None when it was made without one."""

    secret: str | None = None


class Delivery(Model):
    """One event for one webhook. `state` is pending, delivered or failed; `status` is the last HTTP answer."""

    id: str
    event_id: str
    event_type: str = ""
    session_id: str = ""
    position: int = 0
    state: str
    attempts: int = 0
    status: int | None = None
    error: str | None = None
    duration_ms: float | None = None
    created_at: datetime | None = None
    sent_at: datetime | None = None
    next_attempt_at: datetime | None = None
