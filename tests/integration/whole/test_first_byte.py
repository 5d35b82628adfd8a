"""Nothing on the way from the model to a reader holds the first piece back until more has come.

No clock decides: the piece that would follow does not exist before the test has seen the first one.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from jelmore_protocol import SUBPROTOCOL
from tests.integration.whole.conftest import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SESSIONS = "/api/v1/sessions"
SILENCE = "demo> say the first piece\ndemo> sleep 600"
"""The model begins a message and then says nothing for longer than the test may take."""


@pytest.fixture
def http(running: LocalStack) -> Iterator[httpx.Client]:
    """A client through the public address."""
    with running.client() as client:
        yield client


@contextmanager
def session_of(http: httpx.Client) -> Iterator[dict[str, Any]]:
    """Yield a session; end it afterwards."""
    created = http.post(SESSIONS, json={"allowed_tools": ["Bash"]})
    assert created.status_code == 201, created.text
    found: dict[str, Any] = created.json()
    yield found
    assert http.delete(f"{SESSIONS}/{found['id']}").status_code == 200


def server_sent(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """Yield the frames of a stream as they arrive."""
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def frames(socket: ClientConnection) -> Iterator[dict[str, Any]]:
    """Yield the frames of a WebSocket as they arrive."""
    for text in socket:
        yield json.loads(text)


def first_piece(read: Iterator[dict[str, Any]]) -> list[str]:
    """Read up to the first piece of the answer; return the kinds of output that came before it."""
    kinds = []
    for frame in read:
        if frame["type"] == "event":
            kinds.append(frame["kind"])
        if frame["type"] == "delta" and "the first piece" in json.dumps(frame):
            return kinds
    raise AssertionError(f"the stream ended after {kinds}")


def test_the_first_piece_of_a_message_arrives_while_there_is_no_second(http: httpx.Client) -> None:
    with (
        session_of(http) as session,
        http.stream("GET", f"{SESSIONS}/{session['id']}/stream") as stream,
        connect(
            session["urls"]["ws"], subprotocols=[Subprotocol(SUBPROTOCOL)], additional_headers=bearer(session)
        ) as socket,
    ):
        assert http.post(f"{SESSIONS}/{session['id']}/input", json={"input": SILENCE}).status_code == 202
        for read in (server_sent(stream), frames(socket)):
            assert "said" not in first_piece(read), "the message is not whole yet"
        assert http.get(f"{SESSIONS}/{session['id']}").json()["status"] == "active"
        assert http.post(f"{SESSIONS}/{session['id']}/interrupt").is_success


def test_an_output_arrives_before_the_next_one_exists(http: httpx.Client) -> None:
    with session_of(http) as session, http.stream("GET", f"{SESSIONS}/{session['id']}/stream") as stream:
        files = f"{SESSIONS}/{session['id']}/files"
        wait_for_file = "demo> run until [ -e seen ]; do sleep 0.1; done; echo seen it"
        assert http.post(f"{SESSIONS}/{session['id']}/input", json={"input": wait_for_file}).status_code == 202
        read = server_sent(stream)
        call = next(frame for frame in read if frame["type"] == "event" and frame["kind"] == "tool_used")
        assert "until [ -e seen ]" in json.dumps(call["data"])
        # Its result is the next output of the agent, and waits for this file.
        assert http.put(f"{files}/seen", content=b"").status_code == 201
        ended = next(frame for frame in read if frame["type"] == "event" and frame["kind"] == "turn_ended")
        assert ended["data"]["outcome"] == "completed"


def bearer(session: dict[str, Any]) -> dict[str, str]:
    """Return the header with the session's token."""
    return {"Authorization": f"Bearer {session['token']}"}
