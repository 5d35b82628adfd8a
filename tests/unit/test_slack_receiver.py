"""What the Slack example shows of a permission, and whom it believes."""

import hashlib
import hmac
import importlib.util
import io
import json
import time
import urllib.error
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "slack_receiver.py"
SESSION = "01a2215d-8716-7316-ac8d-502c87d7014a"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("slack_receiver", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    monkeypatch.setenv("JELMORE_URL", "http://jelmore")
    monkeypatch.setenv("JELMORE_API_KEY", "key")
    return made


def asked(command: str, request_id: str = "r1", title: str = "Bash") -> dict[str, Any]:
    given = {"command": command}
    return {"request_id": request_id, "waiting_for": "permission", "title": title, "input": given}


def buttons(message: dict[str, Any]) -> list[str]:
    return [
        each["action_id"] for block in message["blocks"] if block["type"] == "actions" for each in block["elements"]
    ]


def test_nobody_allows_what_the_chat_does_not_show(receiver: ModuleType) -> None:
    message = receiver.with_buttons("x", SESSION, [asked("true;" + " " * 5000 + "rm -r x")])
    assert buttons(message) == ["deny"]
    assert "not all of it" in json.dumps(message)
    whole = receiver.with_buttons("x", SESSION, [asked("echo \u202eevil\u202c \u200b héllo")])
    assert buttons(whole) == ["allow", "deny"]
    shown = whole["blocks"][1]["text"]["text"]
    assert shown.replace("\n", "").isprintable()
    assert "\\u202e" in shown
    assert "héllo" in shown


def test_a_message_is_one_that_slack_takes(receiver: ModuleType) -> None:
    many = [asked("<" * 9000, f"r{each}", "&" * 9000) for each in range(100)]
    message = receiver.with_buttons("x", SESSION, many)
    assert len(message["blocks"]) <= 50
    assert all(len(each["text"]["text"]) <= 3000 for each in message["blocks"] if each["type"] == "section")


def press(receiver: ModuleType, monkeypatch: pytest.MonkeyPatch, jelmore: Any) -> dict[str, Any]:
    """Press Allow; return what the chat gets."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(receiver, "jelmore", jelmore)
    monkeypatch.setattr(receiver, "call", lambda _url, body: sent.append(body))
    action = {"action_id": "allow", "value": json.dumps({"session": SESSION, "request": "r1"})}
    payload = {"user": {"id": "U1", "username": "ann"}, "actions": [action], "response_url": "http://chat"}
    receiver.pressed(urlencode({"payload": json.dumps(payload)}).encode())
    (message,) = sent
    return message


def test_what_waits_beside_an_answered_permission_keeps_its_buttons(
    receiver: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def jelmore(_path: str, body: Any = None) -> Any:
        return None if body else {"pending": [asked("ls", "r2")]}

    message = press(receiver, monkeypatch, jelmore)
    assert message["replace_original"]
    assert "allowed by ann" in message["text"]
    (row,) = [block["elements"] for block in message["blocks"] if block["type"] == "actions"]
    assert {json.loads(each["value"])["request"] for each in row} == {"r2"}
    assert buttons(message) == ["allow", "deny"]


def test_a_proxy_that_answers_instead_of_jelmore_is_said_in_the_chat(
    receiver: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def jelmore(_path: str, _body: Any = None) -> Any:
        raise urllib.error.HTTPError("http://x", 502, "Bad Gateway", Message(), io.BytesIO(b"<html>"))

    message = press(receiver, monkeypatch, jelmore)
    assert message == {
        "replace_original": True,
        "text": f"Session {SESSION}: not answered: HTTP Error 502: Bad Gateway",
    }


@pytest.mark.parametrize(
    ("at", "signature"), [("9" * 5000, ""), ("now", ""), ("", ""), ("time", "v0=\xe9"), ("time", "v0=")]
)
def test_a_forged_call_is_refused_and_breaks_nothing(receiver: ModuleType, at: str, signature: str) -> None:
    at = str(int(time.time())) if at == "time" else at
    of_slack = {"x-slack-request-timestamp": at, "x-slack-signature": signature}
    assert not receiver.verified_by_slack("secret", of_slack, b"{}")
    of_jelmore = {"webhook-id": "x", "webhook-timestamp": at, "webhook-signature": signature}
    assert not receiver.verified("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", of_jelmore, b"{}")


def test_a_call_that_slack_signed_is_taken_for_five_minutes(receiver: ModuleType) -> None:
    for age_s, taken in ((0, True), (290, True), (310, False), (-310, False)):
        at = str(int(time.time()) - age_s)
        digest = hmac.new(b"secret", f"v0:{at}:".encode() + b"{}", hashlib.sha256).hexdigest()
        headers = {"x-slack-request-timestamp": at, "x-slack-signature": f"v0={digest}"}
        assert receiver.verified_by_slack("secret", headers, b"{}") is taken
