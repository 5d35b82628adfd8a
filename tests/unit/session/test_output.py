"""What output means: nothing a runner could ever say may raise, and what is expected is expected by its number."""

import json
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jelmore.session.events import EventType
from jelmore.session.journal import JournalReader
from jelmore.session.output import Output, has_neutral_facts, parse
from jelmore.session.output_effects import read
from jelmore.session.record import Session
from jelmore.session.states import ENDED, Presence, SessionStatus, WaitingFor
from jelmore_protocol.events import EventKind
from tests.support.records import MOMENT, line, lines, new_session

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["state", "waiting_for", "message", "type", "usage", "to", "request_id", "id", "tool", "title", "input"]
)
DATA = st.dictionaries(KEYS | st.text(max_size=4), JSON | st.sampled_from(["active", "result", "permission"]))
STATUSES = st.sampled_from(SessionStatus)


def active(**changes: Any) -> Session:
    return replace(new_session(status=SessionStatus.ACTIVE, container_id="c"), **changes)


def event(kind: str, data: dict[str, Any], seq: int = 1) -> Output:
    return line(seq, data, EventKind(kind))


@given(STATUSES, st.sampled_from(Presence), st.lists(st.tuples(st.sampled_from(EventKind), DATA), max_size=5))
@settings(max_examples=300, deadline=None)
def test_anything_can_be_read(
    status: SessionStatus, presence: Presence, said: list[tuple[EventKind, dict[str, Any]]]
) -> None:
    session = active(status=status, presence=presence)
    outputs = [Output(n, kind.value, MOMENT, json.dumps({"data": data})) for n, (kind, data) in enumerate(said, 1)]
    changed, drafts = read(session, outputs)
    assert changed.output_seq == len(outputs)
    assert [draft.type for draft in drafts].count(EventType.OUTPUT_RECEIVED) == bool(outputs)
    assert all(draft.output_seq is not None for draft in drafts)
    if status in ENDED or status is SessionStatus.INITIALIZING:
        assert changed.status is status, "only the reconciler moves it now"


@given(
    st.text()
    | JSON.map(json.dumps)
    | st.fixed_dictionaries({"seq": JSON, "kind": JSON, "at": JSON, "data": JSON}).map(json.dumps)
)
@settings(max_examples=300, deadline=None)
def test_only_a_whole_frame_is_parsed(text: str) -> None:
    output = parse(text)
    assert output is None or (output.seq >= 1 and output.text == text and output.at.tzinfo is not None)


def test_a_frame_keeps_its_text() -> None:
    made = line(7, {"a": "ä\n"})
    assert parse(made.text) == made


@pytest.mark.parametrize(
    ("change", "value"),
    [("seq", 0), ("seq", True), ("seq", "1"), ("kind", 1), ("at", "2026-01-01T00:00:00"), ("at", 5), ("data", [])],
)
def test_a_frame_of_the_wrong_shape_is_none(change: str, value: object) -> None:
    assert parse(json.dumps({**json.loads(line(1).text), change: value})) is None


def journal(outputs: list[Output]) -> bytes:
    return "".join(f"{output.text}\n" for output in outputs).encode()


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2000))
@settings(max_examples=200, deadline=None)
def test_a_torn_journal_gives_what_is_whole(count: int, after: int, cut: int) -> None:
    whole = journal(lines(1, count))
    torn = whole[: max(len(whole) - cut, 0)]
    seqs = [output.seq for output in JournalReader(after).feed(torn)]
    assert seqs == list(range(after + 1, after + 1 + len(seqs)))
    assert len(seqs) >= torn.count(b"\n") - after
    assert seqs == [] or seqs[-1] <= count


def test_a_journal_is_read_up_to_the_first_doubt() -> None:
    one, two, three, five = line(1), line(2), line(3), line(5)
    assert JournalReader(0).feed(journal([one, two, three, five])) == [one, two, three]
    assert JournalReader(0).feed(journal([one]) + b"garbage\n" + journal([two])) == [one]
    assert JournalReader(0).feed(journal([one]) + b"\xff\xfe\n" + journal([two])) == [one]
    assert JournalReader(0).feed(journal([one, one, two])) == [one, two]
    assert JournalReader(0).feed(journal([two, three])) == []
    assert JournalReader(3).feed(b"") == []


def test_a_huge_line_is_a_line() -> None:
    huge = line(1, {"text": "x" * 5_000_000})
    assert JournalReader(0).feed(journal([huge, line(2)])) == [huge, line(2)]


def wire(data: str, seq: int = 1, kind: str = "message", at: str = "2026-01-01T00:00:00.000Z") -> str:
    return f'{{"type":"event","seq":{seq},"kind":"{kind}","at":"{at}","data":{data}}}'


def test_a_hostile_line_costs_no_more_memory_than_its_text() -> None:
    text = wire('{"message":{"type":"result","result":[' + ",".join(["[]"] * 1_500_000) + ']},"input_id":"i"}')
    tracemalloc.start()
    output = parse(text)
    assert output is not None
    changed, drafts = read(active(), [output])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(text)
    assert (changed.output_seq, changed.usage.turns) == (1, 1), "its turn ends all the same"
    assert (drafts[0].type, drafts[0].payload["input_id"]) == (EventType.COMMAND_EXECUTED, "i")
    assert output.data["truncated"] == {"bytes": len(text)}


@pytest.mark.parametrize("depth", [101, 900, 100_000])
def test_what_nests_too_deeply_is_marked(depth: int) -> None:
    output = parse(wire('{"message":' + "[" * depth + "]" * depth + "}"))
    assert output is not None
    assert output.data == {"truncated": {"bytes": len(output.text)}}
    read(active(), [output])


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-13-01T00:00:00Z"])
def test_a_moment_out_of_reach_is_no_moment(at: str) -> None:
    assert parse(wire("{}", at=at)) is None
    assert parse(json.dumps(json.loads(wire("{}", at=at)))) is None


def test_half_a_surrogate_pair_can_be_shown() -> None:
    output = parse(wire(r'{"a":"\ud83d\ude00 \udc00"}'))
    assert output is not None
    assert output.data == {"a": "\U0001f600 \ufffd"}


def test_lines_of_other_writers_are_read_too() -> None:
    spaced = json.dumps(json.loads(wire('{"a": 1}')), indent=1)
    output = parse(spaced)
    assert output is not None
    assert (output.seq, output.kind, output.data) == (1, "message", {"a": 1})
    assert "\n" not in output.text, "a line break would end a line of the stream"
    later = parse(wire('{"a":1},"added":{}'))
    assert later is not None
    assert later.data == {"a": 1}


def test_a_journal_with_odd_lines_is_read_as_far_as_it_goes() -> None:
    good = line(1).text
    for odd in (wire("[" * 100_000, 2), wire("{}", 2, at="0001-01-01T00:00:00+14:00"), wire("5", 2)):
        outputs = JournalReader(0).feed(f"{good}\n{odd}\n".encode())
        assert [output.seq for output in outputs] == [1]
    long = wire('{"a":"' + "x" * 9_000_000 + '"}', 2)
    outputs = JournalReader(0).feed(f"{good}\n{long}\n{line(3).text}\n".encode())
    assert [(output.seq, output.kind) for output in outputs] == [(1, "message"), (2, "error"), (3, "message")]


def test_a_broken_line_has_no_data() -> None:
    for text in ("", "{", "[]", '{"data": 1}', '{"x": {}}'):
        assert Output(1, "message", MOMENT, text).data == {}
    assert Output(1, "message", MOMENT, '{"data": {"a": 1}}').data == {"a": 1}
    assert Output(1, "message", MOMENT, "[" * 100_000).data == {"truncated": {"bytes": 100_000}}


@given(st.integers(1, 3000), st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_a_journal_is_read_in_pieces_of_any_size(size: int, after: int) -> None:
    whole = journal(lines(1, 12))
    reader = JournalReader(after)
    found = [output for at in range(0, len(whole), size) for output in reader.feed(whole[at : at + size])]
    assert found == lines(after + 1, 12)


def test_reading_a_large_journal_holds_a_line_and_parses_no_stored_one() -> None:
    text = journal([line(1, {"text": "x" * 500_000})])
    reader = JournalReader(200)
    tracemalloc.start()
    for seq in range(1, 201):
        assert reader.feed(text.replace(b'"seq":1,', f'"seq":{seq},'.encode())) == []
    assert reader.feed(b"y" * 1_000_000) == []
    for _ in range(50):
        assert reader.feed(b"y" * 1_000_000) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * 1024 * 1024


def test_prompts_in_the_record_are_bounded() -> None:
    session = active()
    for number in range(200):
        asked = {**prompt(f"r{number}"), "input": {"content": "x" * 100_000}}
        session, _ = read(session, [event("permission_requested", asked, number + 1)])
    assert len(session.pending) == 100
    assert session.pending[0]["input"]["content"], "what there is room for is whole"
    assert session.pending[-1]["request_id"] == "r199"
    assert session.pending[-1]["input"]["truncated"]["bytes"] > 100_000
    assert len(json.dumps(session.pending)) < 512 * 1024
    for number in range(200):
        lost = {"request_id": f"r{number}", "decision": "cancelled"}
        session, _ = read(session, [event("permission_resolved", lost, 201 + number)])
    assert len(json.dumps(session.unanswered)) < 512 * 1024


def test_states_are_followed() -> None:
    waiting, drafts = read(active(), [event("state", {"state": "waiting_input", "waiting_for": "question"})])
    assert (waiting.status, waiting.waiting_for) == (SessionStatus.WAITING_INPUT, WaitingFor.QUESTION)
    moved = {"from": "active", "to": "waiting_input", "reason": "question", "waiting_for": "question"}
    assert drafts[0].payload == moved
    odd, _ = read(active(), [event("state", {"state": "waiting_input", "waiting_for": ["?"]})])
    assert odd.waiting_for is WaitingFor.PROMPT
    busy, _ = read(waiting, [event("state", {"state": "active"}, 2)])
    assert (busy.status, busy.waiting_for) == (SessionStatus.ACTIVE, None)


def test_an_agent_that_resumes_by_itself_is_reported_as_resumed() -> None:
    sleeping = active(status=SessionStatus.IDLE, presence=Presence.PAUSED, waiting_for=WaitingFor.PROMPT)
    resumed, drafts = read(sleeping, [event("state", {"state": "active"})])
    assert resumed.presence is Presence.AWAKE
    assert [draft.type for draft in drafts[:2]] == [EventType.SESSION_RESUMED, EventType.SESSION_STATE_CHANGED]


def test_prompts_wait_in_the_record_until_they_are_answered() -> None:
    ask = {"request_id": "r", "waiting_for": "permission", "tool": "Bash", "title": "t", "input": {}}
    asked, _ = read(active(), [event("permission_requested", ask), event("permission_requested", ask, 2)])
    assert asked.pending == (ask,), "offered again is not asked twice"
    both, _ = read(asked, [event("question", {**ask, "request_id": "q", "waiting_for": "question"}, 3)])
    assert len(both.pending) == 2
    left, _ = read(both, [event("permission_resolved", {"request_id": "r"}, 4)])
    assert [prompt["request_id"] for prompt in left.pending] == ["q"]
    odd, _ = read(left, [event("permission_requested", {"request_id": 5}, 5)])
    assert odd.pending == left.pending, "one that cannot be shown cannot be answered"


def test_structured_output_is_reported_with_the_turn() -> None:
    ended = {"input_id": "i", "outcome": "completed", "text": "{}", "structured_output": {"count": 3}}
    _, drafts = read(active(), [event("turn_ended", ended)])
    assert drafts[0].payload["structured_output"] == {"count": 3}


def test_turns_are_counted_and_reported() -> None:
    result = {
        "type": "result",
        "subtype": "success",
        "result": "ok",
        "usage": {"input_tokens": 3, "output_tokens": 4},
        "total_cost_usd": 0.5,
    }
    data = {"input_id": "i", "message": result}
    once, drafts = read(active(), [event("message", data)])
    assert drafts[0].type is EventType.COMMAND_EXECUTED
    assert (drafts[0].payload["input_id"], drafts[0].payload["result"]) == ("i", "ok")
    failing = {**data, "message": {**result, "subtype": "error_max_turns", "total_cost_usd": 0.75}}
    twice, drafts = read(once, [event("message", failing, 2)])
    assert drafts[0].type is EventType.COMMAND_FAILED
    assert (twice.usage.turns, twice.usage.input_tokens, twice.usage.output_tokens) == (2, 6, 8)
    assert twice.usage.cost_usd == 0.75, "the cost is a running total already"
    odd = {"message": {"type": "result", "usage": {"input_tokens": "many", "output_tokens": -1}}}
    same, _ = read(twice, [event("message", odd, 3)])
    assert (same.usage.turns, same.usage.input_tokens, same.usage.output_tokens) == (3, 6, 8)


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("input", {"id": "i", "input": "x", "by": "me"}, EventType.COMMAND_SENT),
        ("directory_changed", {"from": "/a", "to": "/b"}, EventType.SESSION_DIRECTORY_CHANGED),
        ("file_modified", {"path": "p", "op": "created"}, EventType.SESSION_FILE_MODIFIED),
        ("git_activity", {"op": "commit"}, EventType.SESSION_GIT_ACTIVITY),
        ("interrupted", {"input_id": "i", "cause": "restart"}, EventType.COMMAND_FAILED),
        ("error", {"code": "c", "message": "m"}, EventType.ERROR_RECEIVED),
    ],
)
def test_each_kind_becomes_an_event_with_its_number(kind: str, data: dict[str, Any], expected: EventType) -> None:
    _, drafts = read(active(output_seq=3), [event(kind, data, 4)])
    assert [draft.type for draft in drafts] == [expected, EventType.OUTPUT_RECEIVED]
    assert drafts[0].output_seq == 4
    assert drafts[1].payload == {"from_seq": 4, "to_seq": 4}


def test_a_turn_of_a_new_runner_is_counted_once_and_its_cost_is_added() -> None:
    message = {"type": "result", "subtype": "success", "result": "ok", "total_cost_usd": 0.5}
    raw = {"input_id": "i", "message": message, "turn_ended": True}
    turn = {"input_id": "i", "outcome": "completed", "subtype": "success", "text": "ok", "usage": {"input_tokens": 3}}
    session = active()
    seq = 1
    for cost, total in ((0.5, 0.5), (0.25, 0.75)):  # the second one of another process of Claude Code
        ended = {**turn, "cost_usd": cost, "total_cost_usd": total}
        session, drafts = read(session, [event("message", raw, seq), event("turn_ended", ended, seq + 1)])
        seq += 2
    assert (session.usage.turns, session.usage.input_tokens, session.usage.cost_usd) == (2, 6, 0.75)
    expected = [draft for draft in drafts if draft.type is EventType.COMMAND_EXECUTED]
    assert [(draft.payload["result"], draft.payload["total_cost_usd"]) for draft in expected] == [("ok", 0.75)]


def test_the_cost_of_an_old_runner_never_falls() -> None:
    session = active()
    for seq, total in enumerate((0.5, 0.75, 0.25), start=1):
        message = {"type": "result", "total_cost_usd": total}
        session, _ = read(session, [event("message", {"message": message}, seq)])
    assert session.usage.cost_usd == 0.75


def test_the_permission_mode_follows_the_agent() -> None:
    session, _ = read(active(), [event("permission_mode_changed", {"mode": "plan"})])
    assert session.spec.permission_mode == "plan"
    for odd in ("no such mode", None, 3):
        session, _ = read(session, [event("permission_mode_changed", {"mode": odd}, 2)])
        assert session.spec.permission_mode == "plan"


def prompt(request_id: str) -> dict[str, Any]:
    return {"request_id": request_id, "waiting_for": "permission", "tool": "Bash", "title": "Bash", "input": {}}


def test_what_a_lost_container_took_along_is_offered_until_somebody_prompts_again() -> None:
    session, _ = read(
        active(),
        [
            event("input", {"id": "one", "input": "do it"}, 1),
            event("permission_requested", prompt("ask"), 2),
            event("permission_resolved", {"request_id": "ask", "decision": "cancelled"}, 3),
            event("interrupted", {"input_id": "one", "input_seq": 1, "cause": "restart"}, 4),
        ],
    )
    assert [(lost["kind"], lost.get("request_id"), lost.get("input_seq")) for lost in session.unanswered] == [
        ("permission", "ask", None),
        ("prompt", None, 1),
    ]
    assert session.pending == ()
    queued, _ = read(session, [event("message", {"input_id": "queued", "message": {"type": "result"}}, 5)])
    assert queued.unanswered == session.unanswered, "the result of an input that waited behind it is no answer"
    again, _ = read(queued, [event("input", {"id": "two", "input": "do it"}, 6)])
    assert again.unanswered == ()


def test_a_prompt_that_an_interrupt_withdrew_is_not_lost() -> None:
    session, _ = read(
        active(),
        [
            event("permission_requested", prompt("ask"), 1),
            event("permission_resolved", {"request_id": "ask", "decision": "cancelled"}, 2),
            event("message", {"message": {"type": "result", "subtype": "error_during_execution"}}, 3),
        ],
    )
    assert session.unanswered == ()


def test_limited_output_is_warned_of() -> None:
    data = {"code": "output_limited", "message": "m", "used_bytes": 64, "limit_bytes": 64}
    _, drafts = read(active(), [event("error", data)])
    assert [draft.type for draft in drafts[:2]] == [EventType.ERROR_RECEIVED, EventType.SYSTEM_RESOURCE_WARNING]
    assert (drafts[1].payload["resource"], drafts[1].payload["limit"]) == ("output", 64)


@pytest.mark.parametrize(
    ("data", "neutral"),
    [
        ('{"message":{"type":"result"},"turn_ended":true,"input_id":"i"}', True),
        ('{"message":{"type":"result"},"input_id":null,"neutral":true}', True),
        ('{"input_id":"i","neutral":true,"message":{"truncated":{"bytes":9}},"truncated":{"bytes":9}}', True),
        ('{"message":{"type":"result"},"input_id":"i"}', False),
        (r'{"message":{"text":"\"input_id\":null,\"neutral\":true}}"},"input_id":"i"}', False),
    ],
)
def test_a_message_says_at_its_end_that_neutral_facts_follow(data: str, neutral: bool) -> None:
    output = parse(wire(data))
    assert output is not None
    assert has_neutral_facts(output) is neutral


def test_the_end_of_a_turn_is_read_whatever_it_carries() -> None:
    text = wire('{"input_id":"i","outcome":"failed","usage":[' + ",".join(["[]"] * 1_500_000) + "]}", kind="turn_ended")
    output = parse(text)
    assert output is not None
    changed, drafts = read(active(), [output])
    assert (changed.usage.turns, drafts[0].type, drafts[0].payload["input_id"]) == (1, EventType.COMMAND_FAILED, "i")
