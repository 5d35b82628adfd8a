"""What is sent to a token URL, and what of its answers is used and shown."""

import base64
import json
from typing import Any

import pytest
from pydantic import ValidationError

from jelmore_gateway.oauth.requests import OAuthError, read_answer, token_request
from jelmore_protocol.oauth import OAuthClient


def client(**more: Any) -> OAuthClient:
    return OAuthClient(**{"token_url": "https://auth.example/token", "client_id": "me:too", **more})


def test_client_credentials_prove_the_client_by_basic() -> None:
    headers, form = token_request(client(client_secret="a b"), "")
    assert base64.b64decode(headers["Authorization"].partition(" ")[2]) == b"me%3Atoo:a+b"
    assert form == {"grant_type": "client_credentials"}


def test_a_refresh_token_of_a_public_client_names_the_client_in_the_form() -> None:
    headers, form = token_request(client(refresh_token="r1", scopes=["a", "b"], resource="https://mcp.example"), "r2")
    assert "Authorization" not in headers
    assert form == {
        "grant_type": "refresh_token",
        "refresh_token": "r2",
        "scope": "a b",
        "resource": "https://mcp.example",
        "client_id": "me:too",
    }
    _, form = token_request(client(client_secret="s", authentication="post"), "")
    assert (form["client_id"], form["client_secret"]) == ("me:too", "s")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "client_secret"),
        ({"client_secret": "s3cret", "token_url": "http://auth.example/token"}, "https"),
        ({"client_secret": "s3cret", "token_url": "https://user@auth.example/token"}, "token_url"),
        ({"client_secret": "s3cret", "scopes": ["a b"]}, "scopes"),
        ({"client_secret": "s3cret", "other": 1}, "other"),
    ],
)
def test_a_client_that_cannot_be_is_refused_by_field_and_without_its_secret(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        client(**given)
    assert says in str(refused.value)
    assert "s3cret" not in str(refused.value)


def answer(**fields: Any) -> bytes:
    return json.dumps({"access_token": "a1", "token_type": "Bearer", **fields}).encode()


def test_an_answer_gives_a_token_its_lifetime_and_a_new_refresh_token() -> None:
    found = read_answer(200, answer(expires_in=3600, refresh_token="r2"))
    assert (found.access, found.refresh, found.lifetime_s) == ("a1", "r2", 3600)
    assert read_answer(200, answer(expires_in="60", token_type="bearer")).lifetime_s == 60
    odd: Any
    for odd in (None, 0, -1, "soon", [], float("inf"), float("nan")):
        assert read_answer(200, answer(expires_in=odd)).lifetime_s is None
    assert "a1" not in repr(found)
    assert "r2" not in repr(found)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"[" * 100_000, answer(access_token="a\r\nX: y"), answer(access_token=""), answer(token_type="mac")],
)
def test_an_answer_without_a_usable_token_is_refused(body: bytes) -> None:
    with pytest.raises(OAuthError) as refused:
        read_answer(200, body)
    assert refused.value.reason == "bad_response"


def test_of_a_refusal_only_a_known_code_is_shown() -> None:
    for error, reason in (("invalid_grant", "invalid_grant"), ("leak s3cret", "refused"), (7, "refused")):
        with pytest.raises(OAuthError) as refused:
            read_answer(400, json.dumps({"error": error, "error_description": "s3cret"}).encode())
        assert refused.value.reason == reason
        assert "s3cret" not in str(refused.value)
