"""The rules of webhooks: what matches, how calls are signed, when they are tried again."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from uuid import UUID

import pytest

from jelmore.control.webhook_rules import RETRY_AFTER_S, body_of, new_secret, retry_in_s, signed_headers, wants
from jelmore.ports import StoredEvent
from jelmore.ports.event_log import LoggedEvent
from jelmore.ports.webhooks import Webhook
from tests.support.records import MOMENT

EVENT = StoredEvent(UUID(int=1), 7, "session.state_changed", MOMENT, {"waiting_for": "permission"}, 3, 9)
LOGGED = LoggedEvent(42, EVENT, "key_1", "ann")
WEBHOOK = Webhook(
    id=UUID(int=2),
    owner="key_1",
    only_owner="key_1",
    url="https://example.com",
    secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    types=frozenset(),
    waiting_for=frozenset(),
    session_id=None,
    user_id=None,
    description="",
    enabled=True,
    created_at=MOMENT,
)


@pytest.mark.parametrize(
    ("changes", "matches"),
    [
        ({}, True),
        ({"only_owner": None}, True),
        ({"only_owner": "key_2"}, False),
        ({"types": frozenset({"session.failed"})}, False),
        ({"types": frozenset({"session.state_changed"})}, True),
        ({"waiting_for": frozenset({"permission", "question"})}, True),
        ({"waiting_for": frozenset({"question"})}, False),
        ({"session_id": UUID(int=1)}, True),
        ({"session_id": UUID(int=3)}, False),
        ({"user_id": "bob"}, False),
    ],
)
def test_a_webhook_gets_what_it_asked_for_and_may_see(changes: dict[str, object], matches: bool) -> None:
    assert wants(replace(WEBHOOK, **changes), LOGGED) is matches  # type: ignore[arg-type]


def test_waiting_for_narrows_only_changes_of_state() -> None:
    failed = replace(LOGGED, event=replace(EVENT, type="session.failed", payload={}))
    assert wants(replace(WEBHOOK, waiting_for=frozenset({"permission"})), failed)


def test_a_signature_is_what_the_specification_says() -> None:
    """The example of the Standard Webhooks specification."""
    body = b'{"test": 2432232314}'
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(WEBHOOK.secret, UUID(int=5), 1614265330, body)
    expected = hmac.new(key, b"00000000-0000-0000-0000-000000000005.1614265330." + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == (str(UUID(int=5)), "1614265330")
    plain = signed_headers("a secret of another kind", UUID(int=5), 1, body)["webhook-signature"]
    assert plain != signed_headers("whsec_not base64!", UUID(int=5), 1, body)["webhook-signature"]


def test_secrets_are_long_and_differ() -> None:
    assert new_secret() != new_secret()
    assert len(base64.b64decode(new_secret().removeprefix("whsec_"))) == 32


def test_the_body_is_the_event_as_on_the_stream() -> None:
    body = json.loads(body_of(LOGGED))
    assert (body["event_id"], body["position"], body["user_id"]) == (f"{UUID(int=1)}:7", 42, "ann")
    assert body["payload"] == {"waiting_for": "permission"}


def test_a_failed_call_is_tried_again_for_most_of_a_day_and_not_for_ever() -> None:
    pauses = [retry_in_s(attempt) for attempt in range(1, len(RETRY_AFTER_S) + 2)]
    assert pauses == [*RETRY_AFTER_S, None]
    assert 12 * 3600 < sum(RETRY_AFTER_S) < 24 * 3600
