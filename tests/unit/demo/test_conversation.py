"""Which turn is open, against the shapes Claude Code 2.1.329 was seen to send."""

from typing import Any

import pytest

from jelmore_demo.conversation import Message, Turn, count_words, open_turn, plain

REMINDER = "<system-reminder>\ndemo> run echo from a reminder\n</system-reminder>\n"
MID_TURN = (
    "The user sent a new message while you were working:\n{}\n\n"
    "This is how Claude Code surfaces messages the user sends mid-turn. Address the message above."
)
INTERRUPTED = "[Request interrupted by user]\n"
INTERRUPTED_TOOL = "[Request interrupted by user for tool use]\n"


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*blocks: str | dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [text(block) if isinstance(block, str) else block for block in blocks]}


def assistant(*blocks: str | dict[str, Any]) -> dict[str, Any]:
    return user(*blocks) | {"role": "assistant"}


def system(words: str) -> dict[str, Any]:
    return {"role": "system", "content": words}


def call(number: int) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {"command": "demo> say no"}}


def result(number: int, *, failed: bool = False) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": f"t{number}", "content": f"r{number}", "is_error": failed}


def turn_of(*messages: dict[str, Any]) -> Turn:
    return open_turn([Message.model_validate(message) for message in messages])


CASES: dict[str, tuple[list[dict[str, Any]], tuple[str, ...], list[str]]] = {
    "a plain string": ([{"role": "user", "content": "hello"}], ("hello",), []),
    "reminder before the prompt": ([user(REMINDER, "hello"), system("# Environment\ndemo> say no")], ("hello",), []),
    "reminder after the prompt": ([user("hello", REMINDER)], ("hello",), []),
    "two reminders in one block": ([user(REMINDER + REMINDER, "hello")], ("hello",), []),
    "a prompt of several texts": ([user(REMINDER, "one", "two")], ("one\ntwo",), []),
    "a second turn": ([user("one"), assistant("1"), user("two")], ("two",), []),
    "a failed prompt before this one": ([user("demo> fail 400\n", "two")], ("two",), []),
    "one tool answered": ([user("one"), assistant("x", call(1)), user(result(1))], ("one",), ["r1"]),
    "a reminder beside an answer": ([user("one"), assistant(call(1)), user(result(1), REMINDER)], ("one",), ["r1"]),
    "answers of earlier turns": (
        [
            user("one"),
            assistant(call(1)),
            user(result(1)),
            assistant("1"),
            user("two"),
            assistant(call(2)),
            user(result(2)),
            assistant(call(3)),
            user(result(3)),
        ],
        ("two",),
        ["r2", "r3"],
    ),
    "interrupted in mid-stream": ([user("one"), assistant("w1"), user(INTERRUPTED, "two")], ("two",), []),
    "interrupted before a word": ([user("one\n", INTERRUPTED, "two")], ("two",), []),
    "interrupted in a tool": (
        [user("one"), assistant(call(1)), user(result(1, failed=True), INTERRUPTED_TOOL, "two")],
        ("two",),
        [],
    ),
    "answers after an interrupt": (
        [
            user("one"),
            assistant(call(1)),
            user(result(1, failed=True), INTERRUPTED_TOOL, "two"),
            assistant(call(2)),
            user(result(2)),
        ],
        ("two",),
        ["r2"],
    ),
    "interrupted, nothing since": ([user("one"), assistant("w1"), user(INTERRUPTED)], (), []),
    "resumed after a kill": (
        [
            user("one"),
            assistant(call(1)),
            user(result(1, failed=True)),
            assistant("No response requested."),
            user("two"),
        ],
        ("two",),
        [],
    ),
    "a prompt while tools run": (
        [user("one"), assistant(call(1)), user(result(1)), system(MID_TURN.format("demo> say two\nthree"))],
        ("one", "demo> say two\nthree"),
        ["r1"],
    ),
    "two prompts while tools run": (
        [user("one"), assistant(call(1)), user(result(1)), system(MID_TURN.format("2") + "\n" + MID_TURN.format("3"))],
        ("one", "2", "3"),
        ["r1"],
    ),
    "a prompt while tools run, as a reminder": (
        [
            user("one"),
            assistant(call(1)),
            user(result(1), f"<system-reminder>\n{MID_TURN.format('two')}\n</system-reminder>"),
        ],
        ("one", "two"),
        ["r1"],
    ),
    "the turn after such a prompt": (
        [user("one"), assistant(call(1)), user(result(1)), system(MID_TURN.format("2")), assistant("x"), user("three")],
        ("three",),
        [],
    ),
    "a stream that was cut": (
        [
            user("one"),
            assistant(call(1)),
            user(result(1)),
            assistant("w1"),
            user("Your response above was cut off mid-stream. …"),
        ],
        ("one",),
        ["r1"],
    ),
    "after a compaction": (
        [user("This session is being continued from a previous conversation that …\ndemo> say no", REMINDER, "two")],
        ("two",),
        [],
    ),
    "only what Claude Code adds": ([user(REMINDER)], (), []),
}


@pytest.mark.parametrize("case", CASES)
def test_open_turn(case: str) -> None:
    messages, prompts, answers = CASES[case]
    turn = turn_of(*messages)
    assert (turn.prompts, [answer.text for answer in turn.answers]) == (prompts, answers)


def test_an_answer_names_its_tool_and_whether_it_failed() -> None:
    answer = turn_of(user("one"), assistant(call(1)), user(result(1, failed=True))).answers[0]
    assert (answer.tool, answer.text, answer.failed) == ("Bash", "r1", True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [("a", "a"), ([text("a"), {"type": "image"}, text("b"), 7], "a\nb"), (None, ""), ({"text": "a"}, "")],
)
def test_plain(content: object, expected: str) -> None:
    assert plain(content) == expected


@pytest.mark.parametrize(("content", "words"), [(None, 0), ("a b  c", 3), ([text("a b")], 2), ({"a": 1}, 2)])
def test_count_words(content: object, words: int) -> None:
    assert count_words(content) == words
