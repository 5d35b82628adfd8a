"""The rules of webhooks: which events match, how a call is signed, when it is tried again. Pure.

Signed as the Standard Webhooks specification says, so that its libraries verify it.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from jelmore.ports.event_log import EventFilter, LoggedEvent
from jelmore.ports.webhooks import Webhook
from jelmore_protocol.events import utc_text

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a mark, not a secret
RETRY_AFTER_S: Final = (2.0, 15.0, 60.0, 300.0, 1800.0, 2 * 3600.0, 5 * 3600.0, 10 * 3600.0)
"""The pauses between attempts: a receiver may be away for 17 hours and still get everything."""

PUSH_RETRY_AFTER_S: Final = (5.0, 30.0, 120.0)
"""The pauses between attempts to notify a browser: later, somebody has seen the question elsewhere."""

NO_BROWSER: Final = frozenset({404, 410})
"""The statuses with which a push service says that a subscription is no more (RFC 8030)."""

BAD_PUSH: Final = 400
GONE: Final = 410
"""The webhook of a receiver that answers with this status is disabled."""

_STATE_CHANGED: Final = "session.state_changed"


def new_secret() -> str:
    """Return a new signing secret."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def wants(webhook: Webhook, logged: LoggedEvent) -> bool:
    """Return whether a webhook gets an event.

    `waiting_for` narrows `session.state_changed` to those that begin to wait for one of these.
    """
    wanted = EventFilter(webhook.only_owner, webhook.session_id, webhook.user_id, webhook.types)
    if not wanted.matches(logged):
        return False
    if not webhook.waiting_for or logged.event.type != _STATE_CHANGED:
        return True
    return logged.event.payload.get("waiting_for") in webhook.waiting_for


def body_of(logged: LoggedEvent) -> bytes:
    """Return the body of a call: the event in the same form as on the stream."""
    event = logged.event
    shown: dict[str, Any] = {
        "event_id": f"{event.session_id}:{event.seq}",
        "event_type": event.type,
        "session_id": str(event.session_id),
        "timestamp": utc_text(event.at),
        "seq": event.seq,
        "version": event.version,
        "output_seq": event.output_seq,
        "payload": dict(event.payload),
        "position": logged.position,
        "user_id": logged.user_id,
    }
    return json.dumps(shown, separators=(",", ":")).encode()


def signed_headers(secret: str, delivery_id: UUID, at_s: int, body: bytes) -> Mapping[str, str]:
    """Return the headers that let a receiver verify who sent the body, and when."""
    content = f"{delivery_id}.{at_s}.".encode() + body
    digest = hmac.new(_key(secret), content, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "User-Agent": "Jelmore-Webhooks/1",
        "webhook-id": str(delivery_id),
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def retry_in_s(attempt: int, pauses: Sequence[float] | None = None) -> float | None:
    """Return the pause after a failed attempt (counted from 1); None when it was the last."""
    pauses = RETRY_AFTER_S if pauses is None else pauses
    return pauses[attempt - 1] if attempt <= len(pauses) else None


def _key(secret: str) -> bytes:
    """Return the key of a secret: what follows the prefix in base64, else the text itself."""
    if secret.startswith(SECRET_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except ValueError:
            pass
    return secret.encode()
