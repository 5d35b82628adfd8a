"""A deadline of a call is kept by every request that it sends, also when the server accepts and never answers."""

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from jelmore_client import Answer, AsyncJelmore, AsyncSession, Event, Jelmore, JelmoreError, Pending, Session
from jelmore_client.core import turns
from jelmore_client.core.requests import Request
from jelmore_client.models import Accepted, SessionInfo

AT = "2026-01-31T12:00:00.000Z"
INFO = SessionInfo(id="s", status="idle")
SOON_S = 5.0


@pytest.fixture
def hanging() -> Iterator[str]:
    """A server to which connections succeed, and that reads nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def test_a_turn_of_a_server_that_hangs_ends_in_time(hanging: str) -> None:
    began = time.monotonic()
    async with AsyncJelmore(hanging, api_key="key") as client:
        session = AsyncSession(client, INFO)
        with pytest.raises(TimeoutError):
            await session.ask("hello", timeout_s=0.3)
        with pytest.raises(TimeoutError):
            await session.result(Accepted(input_id="i", seq=1), timeout_s=0.3)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(session.events(timeout_s=0.3)), SOON_S)
    assert time.monotonic() - began < SOON_S


async def test_an_answer_that_hangs_ends_in_time(hanging: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Pending.model_validate(
        {"request_id": "r", "waiting_for": "permission", "tool": "Bash", "title": "Bash", "input": {}}
    )

    async def found(*_: object) -> list[Pending]:
        return [waiting]

    async def allow(_: Pending) -> Answer:
        return Answer.allow()

    began = time.monotonic()
    async with AsyncJelmore(hanging, api_key="key") as client:
        session = AsyncSession(client, INFO)
        monkeypatch.setattr(session, "_pending", found)
        with pytest.raises((TimeoutError, JelmoreError)):
            await asyncio.wait_for(
                session.result(Accepted(input_id="i", seq=1), timeout_s=0.3, on_request=allow), 2 * SOON_S
            )
    assert time.monotonic() - began < SOON_S


def test_a_synchronous_turn_does_too(hanging: str) -> None:
    began = time.monotonic()
    with Jelmore(hanging, api_key="key") as client, pytest.raises(TimeoutError):
        Session(client, INFO).ask("hello", timeout_s=0.3)
    assert time.monotonic() - began < SOON_S


async def test_a_call_that_is_cancelled_ends_at_once(hanging: str) -> None:
    async with AsyncJelmore(hanging, api_key="key") as client:
        session = AsyncSession(client, INFO)
        for call in (session.ask("hello"), session.pending(), session.files.read("x"), anext(session.events())):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await call
            assert time.monotonic() - began < SOON_S


def test_an_attempt_takes_no_longer_than_what_is_left() -> None:
    request = Request("GET", "/x", timeout_s=60.0, deadline=100.0)
    assert (request.left_s(90.0), Request("GET", "/x").left_s(90.0)) == (10.0, 60.0)
    with pytest.raises(TimeoutError, match="unknown"):
        request.left_s(100.0)
    assert (turns.left_s(None, 5.0), turns.left_s(7.0, 5.0)) == (None, 2.0)
    with pytest.raises(TimeoutError, match="the turn continues"):
        turns.left_s(5.0, 5.0)


@pytest.mark.parametrize(
    ("kind", "data", "found"),
    [
        ("turn_ended", {"input_id": "i", "outcome": "completed", "text": "yes"}, ("completed", None)),
        ("turn_ended", {"input_id": "other", "outcome": "completed"}, None),
        ("interrupted", {"input_id": "i", "cause": "stopped"}, ("failed", "stopped")),
        ("input_cancelled", {"id": "i", "by": "key"}, ("failed", "cancelled")),
        ("input_cancelled", {"id": "other", "by": "key"}, None),
        ("said", {"input_id": "i", "text": "yes"}, None),
    ],
)
def test_what_ends_the_turn_of_a_prompt(kind: str, data: dict[str, str], found: tuple[str, str | None] | None) -> None:
    result = turns.result_of(Event.model_validate({"seq": 1, "kind": kind, "at": AT, "data": data}), "i")
    assert (None if result is None else (result.outcome, result.subtype)) == found


def test_a_turn_has_started_when_the_agent_has_its_prompt() -> None:
    def started(kind: str, **data: str) -> bool:
        return turns.has_started(Event.model_validate({"seq": 1, "kind": kind, "at": AT, "data": data}), "i")

    assert not started("input", id="i", input_id="i")
    assert not started("state", input_id="other")
    assert started("state", input_id="i", state="active")
