"""What the client decides without I/O."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jelmore_client.core.problems import check, items_of, parse, refusal
from jelmore_client.core.requests import (
    MAX_ATTEMPTS,
    Request,
    backoff_s,
    create_session,
    repository_body,
    retry_delay_s,
    send_input,
    session_path,
    title_of,
)
from jelmore_client.core.streams import Cursor, Frame, LogCursor, SseDecoder
from jelmore_client.errors import (
    ApiError,
    CapacityError,
    ConnectionFailedError,
    InvalidRequestError,
    JelmoreError,
    NotFoundError,
    ProtocolError,
    ServerError,
    SessionEndedError,
    StreamGapError,
)
from jelmore_client.models import Event, Repository, SessionInfo

AT = "2026-01-31T12:00:00.000Z"
EVENTS = [json.dumps({"seq": seq, "kind": "input", "at": AT, "data": {"input": "ü"}}) for seq in range(1, 6)]
STREAM = "".join(f"event: event\ndata: {event}\nid: 1\n\n: ping\n\n" for event in EVENTS).encode()


def problem(status: int, code: str, headers: dict[str, str] | None = None, **more: object) -> ApiError:
    body = json.dumps({"title": "No", "status": status, "detail": "because", "code": code, **more})
    return refusal(status, headers or {}, body.encode())


@given(st.lists(st.integers(min_value=1, max_value=len(STREAM)), max_size=20))
def test_frames_do_not_depend_on_how_the_bytes_arrive(cuts: list[int]) -> None:
    decoder, cursor, edges = SseDecoder(), Cursor(0), [0, *sorted(cuts), len(STREAM)]
    frames = [frame for begin, end in itertools.pairwise(edges) for frame in decoder.feed(STREAM[begin:end])]
    events = [event for frame in frames if (event := cursor.take(frame)) is not None]
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert cursor.params() == {"after": "5"}


def test_an_event_that_comes_again_is_dropped() -> None:
    cursor = Cursor(2)
    frames = [Frame("event", {"seq": seq, "kind": "input", "at": AT, "data": {}}) for seq in (1, 2, 3, 3, 4)]
    assert [event.seq for event in map(cursor.take, frames) if event] == [3, 4]


def test_a_gap_is_an_error_and_the_end_ends() -> None:
    with pytest.raises(StreamGapError):
        Cursor(7).take(Frame("hello", {"resume": "gap", "seq": 3}))
    cursor = Cursor(None)
    cursor.take(Frame("hello", {"resume": "ok", "seq": 9, "state": "active"}))
    assert (cursor.after, cursor.state["state"]) == (9, "active")
    assert cursor.reconnect_delay_s(None) is not None
    cursor.take(Frame("end", {}))
    assert cursor.reconnect_delay_s(None) is None


def test_a_position_without_an_event_moves_a_reader_of_the_log() -> None:
    event = {"event_id": "e", "event_type": "t", "session_id": "s", "seq": 1, "timestamp": AT, "position": 8}
    hello = 'id: 5\nevent: hello\ndata: {"resume": "ok"}\n\n'
    text = f"{hello}id: 7\n\nevent: event\ndata: {json.dumps(event)}\n\nid: 9\n\n"
    cursor = LogCursor(None, filters={"type": ["t"]})
    assert cursor.params() == {"type": ["t"]}
    decoder, seen = SseDecoder(), []
    for frame in decoder.feed(text.encode()):
        cursor.take(frame)
        seen.append(cursor.after)
    assert seen == [5, 7, 8, 9]
    assert cursor.params() == {"type": ["t"], "after": 9}
    assert cursor.take(Frame("event", event)) is None  # once more


def test_a_gap_in_the_log_is_an_error_but_for_who_reads_all_that_is_kept() -> None:
    gap = Frame("hello", {"resume": "gap"})
    assert LogCursor(0).take(gap) is None
    with pytest.raises(StreamGapError):
        LogCursor(3).take(gap)
    with pytest.raises(JelmoreError, match="revoked"):
        LogCursor(3).take(Frame("error", {"message": "revoked", "status": 401, "code": "unauthenticated"}))


def test_a_stream_that_is_refused_for_good_is_not_opened_again() -> None:
    assert Cursor().reconnect_delay_s(problem(404, "unknown_session")) is None
    assert Cursor().reconnect_delay_s(problem(429, "capacity", {"retry-after": "3"}, retryable=True)) == 3.0
    assert Cursor().reconnect_delay_s(ConnectionFailedError("away")) is not None
    with pytest.raises(JelmoreError, match="unauthenticated") as refused:
        Cursor().take(Frame("error", {"message": "No", "status": 401, "code": "unauthenticated"}))
    assert not refused.value.retryable


def test_a_deadline_is_kept() -> None:
    assert Cursor(deadline=10.0).left_s(4.0) == 6.0
    with pytest.raises(TimeoutError):
        Cursor(deadline=10.0).left_s(10.0)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "unknown_session", NotFoundError),
        (409, "session_ended", SessionEndedError),
        (422, "invalid", InvalidRequestError),
        (429, "capacity", CapacityError),
        (503, "dependency_away", ServerError),
        (418, "odd", ApiError),
    ],
)
def test_refusals_are_classes_with_stable_codes(status: int, code: str, kind: type[ApiError]) -> None:
    error = problem(status, code, errors=[{"field": "limits.cpus", "message": "too many"}])
    assert type(error) is kind
    assert (error.status, error.code, error.problem.fields) == (status, code, (("limits.cpus", "too many"),))
    with pytest.raises(ApiError):
        check(status, {}, b"")


def test_the_answer_of_a_proxy_becomes_a_problem() -> None:
    error = refusal(502, {}, b"<html>bad gateway</html>")
    assert (error.code, error.retryable) == ("http_error", True)
    assert "bad gateway" in str(error)


def test_an_answer_of_another_server_is_an_error_that_says_so() -> None:
    for answer in (b"<html>", b"{"):
        with pytest.raises(ProtocolError, match="URL"):
            parse(answer)
    wrong: object
    for wrong in ({"items": []}, "x", None):
        with pytest.raises(ProtocolError, match="URL"):
            items_of(wrong)
    with pytest.raises(ProtocolError, match="URL"):
        items_of({"others": []}, "pending")
    assert items_of({"pending": [1]}, "pending") == [1]
    for value in ("welcome", {"id": 3}, None):
        with pytest.raises(ProtocolError, match=r"no SessionInfo of Jelmore.*URL"):
            SessionInfo.read(value)


def test_only_what_is_safe_is_sent_again() -> None:
    away = ConnectionFailedError("away")
    safe, unsafe = Request("GET", "/x"), Request("POST", "/x", repeatable=False)
    assert retry_delay_s(safe, 1, away) is not None
    assert retry_delay_s(safe, MAX_ATTEMPTS, away) is None
    assert retry_delay_s(unsafe, 1, away) is None
    assert retry_delay_s(unsafe, 1, problem(429, "capacity", {"retry-after": "2"}, retryable=True)) == 2.0
    assert retry_delay_s(safe, 1, problem(429, "capacity", {"retry-after": "3600"}, retryable=True)) is None
    assert retry_delay_s(safe, 1, problem(422, "invalid")) is None
    assert retry_delay_s(unsafe, 1, problem(503, "draining", retryable=True)) is not None


@pytest.mark.parametrize("code", ["dependency_away", "http_error"])
def test_an_answer_of_a_proxy_whose_server_died_repeats_nothing_that_may_have_happened(code: str) -> None:
    """Such as the creation of a key: the edge answers 503 also when the manager died after it had made the key."""
    died = problem(503, code, retryable=True)
    assert retry_delay_s(Request("POST", "/x", repeatable=False), 1, died) is None
    assert retry_delay_s(Request("GET", "/x"), 1, died) is not None


def test_a_reader_goes_on_after_days_without_a_server() -> None:
    assert 4.0 <= backoff_s(100_000) <= 8.0


def test_creates_and_inputs_carry_an_id_of_their_own() -> None:
    made = {create_session({}, wait=True, idempotency_key=None).headers["Idempotency-Key"] for _ in range(5)}
    sent = {send_input("s", "hello", None).json["id"] for _ in range(5)}
    assert (len(made), len(sent)) == (5, 5)
    assert send_input("s", "hello", "mine").json == {"input": "hello", "id": "mine"}


def test_a_session_is_called_as_its_prompt_begins() -> None:
    assert title_of("\n  mend the parser  \nand more") == "mend the parser"
    assert (title_of(" \n"), title_of(None), len(title_of("x" * 99) or "")) == (None, None, 60)


def test_every_part_of_a_path_is_escaped() -> None:
    assert session_path("a/b", "permissions", "../x") == "/api/v1/sessions/a%2Fb/permissions/..%2Fx"


def test_the_text_of_an_event() -> None:
    said = {"seq": 1, "kind": "said", "at": AT, "data": {"role": "assistant", "text": "hello"}}
    assert Event.model_validate(said).text == "hello"
    assert Event.model_validate({**said, "data": {"role": "assistant", "thinking": True, "text": "hm"}}).text == ""
    assert Event.model_validate({"seq": 1, "kind": "later", "at": AT, "data": {}}).text == ""


def test_a_repository_is_sent_as_given_and_has_time_to_be_fetched() -> None:
    full = {"url": "https://git.example.com/x.git", "ref": "main", "depth": 1, "credential": "bot"}
    assert repository_body(Repository(**full)) == repository_body(full) == full
    assert repository_body(Repository(url="https://x")) == {"url": "https://x"}
    plain = create_session({}, wait=True, idempotency_key=None)
    fetching = create_session({"repository": full}, wait=True, idempotency_key=None)
    assert fetching.timeout_s > plain.timeout_s + 299
