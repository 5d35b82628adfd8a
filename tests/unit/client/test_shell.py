"""What `jelmore shell` sends of what is typed, and how the client follows a terminal over broken connections."""

import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jelmore_client import (
    ApiError,
    AsyncJelmore,
    ConflictError,
    ConnectionFailedError,
    ForbiddenError,
    ProtocolError,
    SessionEndedError,
)
from jelmore_client.cli.visit import EscapeKeys, Key
from jelmore_client.core.terminals import TerminalOutput, TerminalState, Unasked

OPENED = {
    "type": "opened",
    "terminal": "main",
    "instance": "i1",
    "position": 100,
    "gap": False,
    "columns": 90,
    "rows": 30,
    "writer": True,
    "by": "ann",
    "watchers": 1,
}


def learned(**opening: Any) -> TerminalState:
    state = TerminalState(opening)
    assert state.take(json.dumps(OPENED)) is None
    return state


@pytest.mark.parametrize(
    ("typed", "sent", "asked"),
    [
        (b"ls\r", b"ls\r", []),
        (b"~.", b"", [Key.LEAVE]),
        (b"ls\r~.", b"ls\r", [Key.LEAVE]),
        (b"a~.", b"a~.", []),
        (b"\r~~.", b"\r~.", []),
        (b"\r~x", b"\r~x", []),
        (b"\n~t~?x", b"\nx", [Key.TAKE, Key.HELP]),
    ],
)
def test_escape_keys_are_taken_out_at_the_beginning_of_a_line(typed: bytes, sent: bytes, asked: list[Key]) -> None:
    assert EscapeKeys().feed(typed) == (sent, asked)


@given(st.binary(max_size=40), st.integers(0, 40))
def test_escape_keys_do_not_depend_on_how_the_bytes_arrive(typed: bytes, cut: int) -> None:
    whole = EscapeKeys().feed(typed)
    keys = EscapeKeys()
    first, second = keys.feed(typed[:cut]), keys.feed(typed[cut:])
    assert (first[0] + second[0], first[1] + second[1]) == whole


def test_a_broken_connection_continues_at_the_next_byte_of_the_same_instance() -> None:
    state = learned(command="make", pty=True)
    assert state.take(b"12345") == TerminalOutput(b"12345")
    delay_s = state.reconnect_delay_s(1006, "")
    assert delay_s is not None
    assert delay_s < 1
    again = json.loads(state.first_frame())
    assert (again["instance"], again["after"], again["take"]) == ("i1", 105, True)
    assert "command" not in again, "it must not be started again"


def test_streams_are_distinguished_and_a_gap_is_known() -> None:
    state = learned(pty=False)
    state.take('{"type": "stream", "stream": "stderr"}')
    assert state.take(b"oops") == TerminalOutput(b"oops", "stderr")
    screen = learned(pty=True)
    screen.take('{"type": "gap", "position": 900}')
    assert (screen.gap, screen.position) == (True, 900)


def test_a_command_through_pipes_fails_instead_of_leaving_output_out() -> None:
    state = learned(pty=False, command="tar c .")
    with pytest.raises(ProtocolError, match="run the command again"):
        state.take(json.dumps({**OPENED, "position": 900, "gap": True}))
    watcher = learned(pty=False, watch=True)
    watcher.take('{"type": "gap", "position": 900}')
    assert watcher.gap


def test_input_through_a_pipe_is_not_continued_until_the_server_has_all_of_it() -> None:
    state = learned(pty=False)
    with pytest.raises(ConnectionFailedError):
        state.reconnect_delay_s(1006, "")
    *_, asks = state.end_of_input()
    state.take(json.dumps({"type": "pong", "id": json.loads(asks)["id"]}))
    assert state.reconnect_delay_s(1006, "") is not None


@pytest.mark.parametrize(
    ("frame", "close_code", "error"),
    [
        (None, 4403, ForbiddenError),
        ({"code": "unknown_request", "message": "this terminal has ended"}, 1008, ApiError),
        ({"code": "ended", "message": "the session has ended"}, 1000, SessionEndedError),
        (None, 1000, SessionEndedError),
    ],
)
def test_a_refusal_is_an_error_and_not_tried_again(
    frame: dict[str, str] | None, close_code: int, error: type[Exception]
) -> None:
    state = TerminalState({})
    if frame is not None:
        state.take(json.dumps({"type": "error", **frame}))
    with pytest.raises(error):
        state.reconnect_delay_s(close_code, "")


def test_the_end_is_an_end() -> None:
    state = learned()
    state.take('{"type": "exit", "code": 130, "signal": "SIGINT"}')
    assert (state.ended, state.exit_code, state.signal) == (True, 130, "SIGINT")
    assert state.reconnect_delay_s(1000, "") is None


QUESTIONS = (
    b"\x1b[c\x1b[>0c\x1b[6n\x1b[?6n\x1b[18t\x1b[?2004$p\x1b[>0q\x1b[?u\x1b]11;?\x07\x1b]4;1;?\x1b\\\x1bP$qm\x1b\\\x05"
)
SHOWN = b"\x1b[?1049h\x1b[2;5H\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[4hn c t"


@given(st.integers(1, 30))
def test_what_a_program_asked_before_this_screen_came_is_not_asked_again(step: int) -> None:
    """The answer of the screen would be typed into the shell."""
    unasked, written, shown = Unasked(), b"a" + QUESTIONS + SHOWN + QUESTIONS + b"b", b""
    for at in range(0, len(written), step):
        shown += unasked.feed(TerminalOutput(written[at : at + step], replayed=True))
    assert shown == b"a" + SHOWN + b"b"
    assert unasked.feed(TerminalOutput(QUESTIONS)) == QUESTIONS, "a program of now is answered"


def test_a_sequence_that_the_replay_cuts_is_shown_with_what_follows() -> None:
    unasked = Unasked()
    assert unasked.feed(TerminalOutput(b"x\x1b[3", replayed=True)) == b"x"
    assert unasked.feed(TerminalOutput(b"1mred")) == b"\x1b[31mred"


def test_only_what_was_written_before_this_client_came_is_a_replay() -> None:
    state = TerminalState({})
    state.take(json.dumps({**OPENED, "new": False, "end": 103}))
    assert [state.take(piece) for piece in (b"abc", b"d")] == [
        TerminalOutput(b"abc", replayed=True),
        TerminalOutput(b"d"),
    ]
    state.take(json.dumps({**OPENED, "new": False, "position": 104, "end": 200}))  # the same screen, again
    assert state.take(b"e") == TerminalOutput(b"e")
    assert learned().take(b"f") == TerminalOutput(b"f"), "a server that does not say"


def test_a_pause_ends_the_shell_with_the_reason() -> None:
    state = learned()
    state.take(json.dumps({"type": "error", "code": "conflict", "message": "the session is paused: open it again"}))
    with pytest.raises(ConflictError, match="paused: open it again"):
        state.reconnect_delay_s(1008, "")


def test_a_terminal_that_has_ended_meanwhile_is_not_an_unknown_session() -> None:
    state = learned()
    state.first_frame()
    state.take(json.dumps({"type": "error", "code": "unknown_request", "message": "instance: this terminal has ended"}))
    assert not state.opened, "the problem is raised, not shown beside the terminal"
    with pytest.raises(ConflictError, match="it has ended while the connection was broken"):
        state.reconnect_delay_s(1008, "")


async def test_who_waits_for_a_broken_connection_learns_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jelmore_client.core.terminals.backoff_s", lambda _: 0.0)
    seen: list[str] = []
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    async with AsyncJelmore(url, api_key="key") as client:
        client.on_retry = lambda error, _: seen.append(type(error).__name__)
        terminal = client.open_terminal("/terminal")
        terminal.state.take(json.dumps(OPENED))
        with pytest.raises(ConnectionFailedError):
            await terminal._again(1006, "lost")
    assert set(seen) == {"ConnectionFailedError"}
    assert len(seen) > 3
