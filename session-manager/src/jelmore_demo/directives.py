"""Decides the demo model's answer from the prompt's `demo> ` lines and the progress of the open turn.

The next step follows from the request alone, so several processes, restarts and repeated requests give the same answer.
Each tool call ends an assistant message; texts before it are in the same message. Pure: no clock, no I/O.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jelmore_demo.conversation import Request, ToolAnswer, open_turn

MARK: Final = "demo> "
NAME: Final = "[demo model]"
MAX_WORDS: Final = 100_000
MAX_DELAY_MS: Final = 60_000
MAX_SLEEP_S: Final = 600.0
MAX_PAUSES_S: Final = 3_600.0  # in total per prompt, so that every reply ends
MAX_DIRECTIVES: Final = 1_000
SUMMARY_REQUEST: Final = "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools."  # sent when Claude Code compacts
QUOTED_CHARACTERS: Final = 400
OPTIONS: Final = range(2, 5)  # what AskUserQuestion accepts
STATUSES: Final = range(400, 600)


@dataclass(frozen=True, slots=True)
class Say:
    """A text, in one piece."""

    text: str


@dataclass(frozen=True, slots=True)
class Words:
    """`count` words (`word1 word2 …`), each in its own piece, with `delay_ms` before each."""

    count: int
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """Silence for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one of Claude Code's tools."""

    tool: str
    arguments: Mapping[str, object]
    always: bool = False  # even if the tool is not offered: Claude Code loads some on demand


@dataclass(frozen=True, slots=True)
class Fail:
    """An API error with this HTTP status."""

    status: int


@dataclass(frozen=True, slots=True)
class WritePlan:
    """Writes a plan to the file that Claude Code names in plan mode."""

    text: str


type Step = Say | Words | Sleep | ToolCall | Fail
type Directive = Step | WritePlan


@dataclass(frozen=True, slots=True)
class Reply:
    """One assistant message: texts and pauses in order, then at most one tool call or one failure."""

    parts: tuple[Say | Words | Sleep, ...]
    ending: ToolCall | Fail | None = None


def plan(request: Request) -> Reply:
    """Return the answer to `request`; equal requests get equal answers.

    A request without tools is background work of Claude Code (a title, a topic), never the conversation. It quotes the
    prompt, so its directives are ignored.
    """
    if not request.tools:
        return Reply((Say("background request"),))
    turn = open_turn(request.messages)
    if turn.prompts and turn.prompts[-1].startswith(SUMMARY_REQUEST):
        return Reply((Say("a summary of the conversation so far"),))
    asked = [directive for prompt in turn.prompts for directive in parse(prompt) or [Say(prompt.strip())]]
    directives = [
        _write_plan(directive, request) if isinstance(directive, WritePlan) else directive for directive in asked
    ]
    if not directives:
        return Reply((Say("there was no prompt"),))
    return _next([_offered(directive, request.tool_names) for directive in directives], turn.answers)


def parse(prompt: str) -> list[Directive]:
    """Return the directives of a prompt in order. An invalid one becomes a text that says why."""
    lines = (line.rstrip("\r") for line in prompt.split("\n"))
    asked = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
    return _bounded([step for line in asked[:MAX_DIRECTIVES] for step in _steps(_directive(line))])


def _steps(directive: Directive) -> list[Directive]:
    """Return the steps of a directive: a plan is proposed after the file with it was written.

    Claude Code names that file at the latest after the first tool call, so a harmless one comes first.
    """
    if not isinstance(directive, WritePlan):
        return [directive]
    look = ToolCall("Bash", {"command": "pwd", "description": "Look where the plan applies"})
    return [look, directive, ToolCall("ExitPlanMode", {}, always=True)]


def _write_plan(directive: WritePlan, request: Request) -> ToolCall:
    return ToolCall("Write", {"file_path": request.plan_file or "plan.md", "content": directive.text})


def _bounded(directives: Sequence[Directive]) -> list[Directive]:
    """Replace each directive that would make the prompt's replies too long by a text."""
    words, pauses_s = 0, 0.0
    kept: list[Directive] = []
    for directive in directives:
        match directive:
            case Words(count, delay_ms):
                more_words, more_s = count, count * delay_ms / 1000
            case Sleep(seconds):
                more_words, more_s = 0, seconds
            case _:
                more_words, more_s = 0, 0.0
        if words + more_words > MAX_WORDS or pauses_s + more_s > MAX_PAUSES_S:
            kept.append(Say(f"one prompt may ask for {MAX_WORDS} words and {MAX_PAUSES_S:.0f} s of pauses at most"))
            continue
        words, pauses_s = words + more_words, pauses_s + more_s
        kept.append(directive)
    return kept


def _next(directives: Sequence[Step], answers: Sequence[ToolAnswer]) -> Reply:
    parts: list[Say | Words | Sleep] = []
    if answers and answers[-1].failed:
        parts.append(Say(f"{answers[-1].tool} failed: {_quoted(answers[-1])}"))
    for directive in _after_tool_calls(directives, len(answers)):
        if isinstance(directive, ToolCall | Fail):
            return Reply(tuple(parts), directive)
        parts.append(directive)
    if all(isinstance(part, Sleep) for part in parts):  # Claude Code repeats the request after a message without text
        parts.append(Say(f"done; {answers[-1].tool} answered: {_quoted(answers[-1])}" if answers else "done"))
    return Reply(tuple(parts))


def _after_tool_calls(directives: Sequence[Step], answered: int) -> Sequence[Step]:
    """Skip the directives up to and including the answered tool calls."""
    calls = [index for index, directive in enumerate(directives) if isinstance(directive, ToolCall)]
    if answered == 0:
        return directives
    return directives[calls[answered - 1] + 1 :] if answered <= len(calls) else ()


def _quoted(answer: ToolAnswer) -> str:
    text = answer.text.strip()
    return text if len(text) <= QUOTED_CHARACTERS else f"{text[:QUOTED_CHARACTERS]}…"


def _offered(directive: Step, tool_names: frozenset[str]) -> Step:
    if isinstance(directive, ToolCall) and not directive.always and directive.tool not in tool_names:
        return Say(f"the tool {directive.tool} is not offered here")
    return directive


def _directive(line: str) -> Directive:
    verb, _, rest = line.strip().partition(" ")
    maker = _MAKERS.get(verb)
    if maker is None:
        return Say(f"there is no directive {verb!r}; there are: {', '.join(_MAKERS)}")
    try:
        return maker(rest.strip())
    except ValueError as error:
        return Say(f"cannot obey {line.strip()!r}: {error}")


def _run(rest: str) -> Directive:
    return ToolCall("Bash", {"command": _given(rest, "a command"), "description": "Run what the prompt says"})


def _background(rest: str) -> Directive:
    command = _given(rest, "a command")
    described = "Run in the background what the prompt says"
    return ToolCall("Bash", {"command": command, "description": described, "run_in_background": True})


def _write(rest: str) -> Directive:
    path, _, text = _given(rest, "a path and a text").partition(" ")
    return ToolCall("Write", {"file_path": path, "content": text})


def _read(rest: str) -> Directive:
    return ToolCall("Read", {"file_path": _given(rest, "a path")})


def _ask(rest: str) -> Directive:
    question, *options = (part.strip() for part in rest.split("|"))
    if not question or len(set(options)) not in OPTIONS or len(set(options)) != len(options) or "" in options:
        raise ValueError("it needs a question and 2 to 4 different options, parted by |")
    described = [{"label": option, "description": f"Answer {option!r}"} for option in options]
    asked = {"question": question, "header": "Question", "options": described, "multiSelect": False}
    return ToolCall("AskUserQuestion", {"questions": [asked]})


def _choose(rest: str) -> Directive:
    call = _ask(rest)
    assert isinstance(call, ToolCall)  # noqa: S101 - for the type checker
    questions = call.arguments["questions"]
    assert isinstance(questions, list)  # noqa: S101
    return ToolCall(call.tool, {"questions": [{**each, "multiSelect": True} for each in questions]})


def _edit(rest: str) -> Directive:
    path, *texts = (part.strip() for part in rest.split("|"))
    if not path or len(texts) != 2 or not texts[0]:  # noqa: PLR2004 - before and after
        raise ValueError("it needs a path, the text to replace and its replacement, parted by |")
    return ToolCall("Edit", {"file_path": path, "old_string": texts[0], "new_string": texts[1]})


def _plan(rest: str) -> Directive:
    return WritePlan(_given(rest, "a plan"))


def _tool(rest: str) -> Directive:
    name, _, text = _given(rest, "a tool's name").partition(" ")
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise ValueError("the arguments must be a JSON object")  # noqa: TRY004 - `parse` expects ValueError
    return ToolCall(name, arguments, always=True)


def _say(rest: str) -> Directive:
    return Say(_given(rest, "a text"))


def _words(rest: str) -> Directive:
    count, _, delay_ms = rest.partition(" ")
    return Words(_whole(count, 1, MAX_WORDS, "N"), _whole(delay_ms or "0", 0, MAX_DELAY_MS, "DELAY_MS"))


def _sleep(rest: str) -> Directive:
    try:
        seconds = float(rest)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_SLEEP_S:
        raise ValueError(f"S must be a number of seconds from 0 to {MAX_SLEEP_S:.0f}")
    return Sleep(seconds)


def _fail(rest: str) -> Directive:
    return Fail(_whole(rest, STATUSES.start, STATUSES.stop - 1, "STATUS"))


def _given(rest: str, what: str) -> str:
    if not rest:
        raise ValueError(f"it needs {what}")
    return rest


def _whole(text: str, least: int, most: int, name: str) -> int:
    # isdecimal() alone accepts digits of other scripts, and int() refuses very long ones with another message.
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(most)) else -1
    if not least <= number <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return number


_MAKERS: Final[Mapping[str, Callable[[str], Directive]]] = {
    "run": _run,
    "background": _background,
    "write": _write,
    "read": _read,
    "edit": _edit,
    "ask": _ask,
    "choose": _choose,
    "plan": _plan,
    "tool": _tool,
    "say": _say,
    "words": _words,
    "sleep": _sleep,
    "fail": _fail,
}
