"""Each directive, and the walk through several of them over the requests of one turn."""

from typing import Any

import pytest

from jelmore_demo.conversation import Request
from jelmore_demo.directives import (
    MAX_DIRECTIVES,
    Directive,
    Fail,
    Reply,
    Say,
    Sleep,
    ToolCall,
    Words,
    parse,
    plan,
)

TOOLS = ("Bash", "Write", "Read", "AskUserQuestion")


def bash(command: str) -> ToolCall:
    return ToolCall("Bash", {"command": command, "description": "Run what the prompt says"})


def request(*messages: dict[str, Any], tools: tuple[str, ...] = TOOLS) -> Request:
    return Request.model_validate({"model": "m", "messages": messages, "tools": [{"name": name} for name in tools]})


def ask(prompt: str, *results: tuple[str, bool], tools: tuple[str, ...] = TOOLS) -> Reply:
    """Plan the reply to a prompt whose tool calls so far had these results."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
    for number, (words, failed) in enumerate(results):
        use = {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {}}
        answer = {"type": "tool_result", "tool_use_id": f"t{number}", "content": words, "is_error": failed}
        messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [answer]}]
    return plan(request(*messages, tools=tools))


OBEYED: dict[str, Directive] = {
    "run echo a | wc -l": bash("echo a | wc -l"),
    "run  spaced ": bash("spaced"),
    "background sleep 5; touch x": ToolCall(
        "Bash",
        {
            "command": "sleep 5; touch x",
            "description": "Run in the background what the prompt says",
            "run_in_background": True,
        },
    ),
    "write notes.txt some text": ToolCall("Write", {"file_path": "notes.txt", "content": "some text"}),
    "write empty": ToolCall("Write", {"file_path": "empty", "content": ""}),
    "tool EnterPlanMode": ToolCall("EnterPlanMode", {}, always=True),
    'tool Task {"prompt": "a b"}': ToolCall("Task", {"prompt": "a b"}, always=True),
    "read a b.txt": ToolCall("Read", {"file_path": "a b.txt"}),
    "edit a b.txt | old | new": ToolCall("Edit", {"file_path": "a b.txt", "old_string": "old", "new_string": "new"}),
    "say ünï|cøde": Say("ünï|cøde"),
    "words 3": Words(3, 0),
    "words 100000 10": Words(100_000, 10),
    "sleep 0.5": Sleep(0.5),
    "sleep 600": Sleep(600.0),
    "fail 529": Fail(529),
}


@pytest.mark.parametrize("line", OBEYED)
def test_a_directive(line: str) -> None:
    assert parse(f"demo> {line}") == [OBEYED[line]]


def test_a_choice_is_a_question_with_several_answers() -> None:
    (asked,) = parse("demo> choose Which? | A | B")
    assert isinstance(asked, ToolCall)
    assert "'multiSelect': True" in str(asked.arguments)


def test_a_plan_is_written_to_the_named_file_before_it_is_proposed() -> None:
    named = "Plan File Info: create your plan at /home/u/plans/a-b.md using the Write tool"
    replies = [ask("demo> plan 1. do it", *[(named, False)] * answered).ending for answered in range(3)]
    assert [reply.tool for reply in replies if isinstance(reply, ToolCall)] == ["Bash", "Write", "ExitPlanMode"]
    assert replies[1] == ToolCall("Write", {"file_path": "/home/u/plans/a-b.md", "content": "1. do it"})


REFUSED = {
    "edit a.txt | old": "needs a path, the text to replace",
    "plan": "needs a plan",
    "dance": "there is no directive 'dance'",
    "": "there is no directive ''",
    "tool": "needs a tool's name",
    "tool Bash [1]": "must be a JSON object",
    "tool Bash {": "must be a JSON object",
    "run": "needs a command",
    "background": "needs a command",
    "write": "needs a path",
    "read": "needs a path",
    "say": "needs a text",
    "words": "whole number from 1 to 100000",
    "words 0": "whole number from 1 to 100000",
    "words 100001": "whole number from 1 to 100000",
    "words ٣": "whole number from 1 to 100000",
    "words " + "9" * 5000: "whole number from 1 to 100000",
    "words 5 -1": "DELAY_MS",
    "words 5 60001": "DELAY_MS",
    "words 100000 60000": "3600 s",
    "sleep 601": "from 0 to 600",
    "sleep nan": "from 0 to 600",
    "sleep soon": "from 0 to 600",
    "fail 200": "from 400 to 599",
    "fail": "from 400 to 599",
    "ask Which?": "2 to 4 different options",
    "ask Which? | a": "2 to 4 different options",
    "ask Which? | a | a": "2 to 4 different options",
    "ask Which? | a | ": "2 to 4 different options",
    "ask Which? | a | b | c | d | e": "2 to 4 different options",
    "ask | a | b": "2 to 4 different options",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_directive_that_cannot_be_obeyed_says_why(line: str) -> None:
    (said,) = parse(f"demo> {line}")
    assert isinstance(said, Say)
    assert REFUSED[line] in said.text


def test_ask_is_a_question_with_its_options() -> None:
    (asked,) = parse("demo> ask Which one? | A | B b")
    assert isinstance(asked, ToolCall)
    question: Any = asked.arguments["questions"]
    assert question[0]["question"] == "Which one?"
    assert [option["label"] for option in question[0]["options"]] == ["A", "B b"]


def test_only_lines_that_start_with_the_mark_count() -> None:
    prompt = "please\n demo> say a\nx demo> say b\n> demo> say c\ndemo>say d\nDEMO> say e\ndemo> say f\r\nend"
    assert parse(prompt) == [Say("f")]


def test_a_prompt_is_bounded_in_all() -> None:
    assert len(parse("demo> say a\n" * (MAX_DIRECTIVES + 1))) == MAX_DIRECTIVES
    assert [type(directive) for directive in parse("demo> words 60000\n" * 2)] == [Words, Say]
    assert [type(directive) for directive in parse("demo> sleep 600\n" * 7)] == [Sleep] * 6 + [Say]


def test_a_prompt_without_directives_is_echoed() -> None:
    assert ask("hello\nthere ") == Reply((Say("hello\nthere"),))


def test_texts_share_a_message_with_the_tool_call_after_them() -> None:
    assert ask("demo> say a\ndemo> words 2\ndemo> run ls\ndemo> say b") == Reply((Say("a"), Words(2, 0)), bash("ls"))


PROGRAM = "demo> run 1\ndemo> say mid\ndemo> run 2\ndemo> sleep 1"


@pytest.mark.parametrize(
    ("results", "reply"),
    [
        ((), Reply((), bash("1"))),
        ((("one", False),), Reply((Say("mid"),), bash("2"))),
        ((("no thanks", True),), Reply((Say("Bash failed: no thanks"), Say("mid")), bash("2"))),
        ((("one", False), ("two", False)), Reply((Sleep(1.0), Say("done; Bash answered: two")))),
        ((("one", False), ("no", True)), Reply((Say("Bash failed: no"), Sleep(1.0)))),
        ((("1", False), ("2", False), ("3", False)), Reply((Say("done; Bash answered: 3"),))),
    ],
)
def test_the_next_directive_follows_from_the_answers(results: tuple[tuple[str, bool], ...], reply: Reply) -> None:
    assert ask(PROGRAM, *results) == reply


def test_a_prompt_sent_while_tools_run_is_obeyed_after_the_first() -> None:
    injected = (
        "The user sent a new message while you were working:\ndemo> run 9\n\nThis is how Claude Code surfaces it."
    )
    use = {"type": "tool_use", "id": "t", "name": "Bash", "input": {}}
    answer = {"type": "tool_result", "tool_use_id": "t", "content": "r"}
    reply = plan(
        request(
            {"role": "user", "content": "demo> run 1\ndemo> say mid"},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [answer]},
            {"role": "system", "content": injected},
        )
    )
    assert reply == Reply((Say("mid"),), bash("9"))


def test_silence_still_ends_in_a_text() -> None:
    assert ask("demo> sleep 1") == Reply((Sleep(1.0), Say("done")))


def test_a_failure_comes_after_the_tools_before_it() -> None:
    assert ask("demo> run 1\ndemo> fail 500").ending == bash("1")
    assert ask("demo> run 1\ndemo> fail 500", ("r", False)).ending == Fail(500)


def test_a_tool_that_is_not_offered_is_said_and_skipped() -> None:
    reply = ask("demo> write a b\ndemo> run ls", tools=("Bash",))
    assert reply == Reply((Say("the tool Write is not offered here"),), bash("ls"))


def test_a_long_answer_is_quoted_in_part() -> None:
    (said,) = ask("demo> run 1", ("x" * 100_000, False)).parts
    assert isinstance(said, Say)
    assert len(said.text) < 500


def test_a_request_without_tools_obeys_nothing() -> None:
    assert ask("demo> words 100000 100", tools=()) == Reply((Say("background request"),))


def test_a_summary_obeys_nothing_and_does_not_echo_its_request() -> None:
    request_text = "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.\n\ndemo> run ls"
    assert ask(request_text) == Reply((Say("a summary of the conversation so far"),))


def test_an_interrupt_with_no_prompt_after_it_gets_an_answer() -> None:
    assert ask("[Request interrupted by user]\n") == Reply((Say("there was no prompt"),))
