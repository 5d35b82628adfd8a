"""Reads a Messages API request: which turn is open, and what its tools answered.

Claude Code adds text of its own around a prompt and joins adjacent user messages. Treating any of that as the prompt
would run a directive twice, or run one that the user did not send. So all code here works on single content blocks.
Pure: no clock, no I/O, no state between requests.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

REMINDERS: Final = re.compile(r"\s*(?:<system-reminder>.*?</system-reminder>\s*)+", re.DOTALL)
INTERRUPTED: Final = "[Request interrupted"
# A prompt sent while tools run arrives inside this text, in a system message or a reminder, and opens no new turn.
INJECTED: Final = re.compile(
    r"The user sent a new message while you were working:\n(.*?)(?=\n\nThis is how Claude Code surfaces|\Z)", re.DOTALL
)
PLAN_FILE: Final = re.compile(r"(/[^\s\"']+/plans/[^\s\"']+\.md)")
# Texts that Claude Code itself sends in place of a prompt: they open no new turn.
NUDGES: Final = (
    "[Your previous response had no visible output",
    "Your response above was cut off mid-stream",
    "Output token limit hit",
    "Continue from where you left off",
    "Your tool call was malformed",
    "[Image: source: ",  # where it keeps an image of the prompt
    "This session is being continued from a previous conversation",
)


class Block(BaseModel):
    """One content block of any type. Fields of other types keep their defaults."""

    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    tool_use_id: str = ""
    is_error: bool | None = None
    content: Any = None


class Message(BaseModel):
    """One message of the conversation. A plain string counts as one text block."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]

    @property
    def blocks(self) -> list[Block]:
        """The content as blocks."""
        return [Block(type="text", text=self.content)] if isinstance(self.content, str) else self.content


class Tool(BaseModel):
    """A tool that the client offers. Only its name is used."""

    name: str = ""


class Request(BaseModel):
    """The body of `POST /v1/messages`. Fields that the demo model does not use are ignored."""

    model: str = Field(min_length=1, max_length=256)
    messages: list[Message] = Field(min_length=1)
    system: Any = None
    tools: list[Tool] = []
    stream: bool = False

    @property
    def tool_names(self) -> frozenset[str]:
        """The names of the offered tools."""
        return frozenset(tool.name for tool in self.tools)

    @property
    def plan_file(self) -> str | None:
        """The file that Claude Code names for the plan in plan mode, the newest mention; None outside of it."""
        texts = [plain(block.content) or block.text for message in self.messages for block in message.blocks]
        found = [match for text in texts for match in PLAN_FILE.findall(text)]
        return found[-1] if found else None

    @property
    def input_words(self) -> int:
        """The number of words that the client sent, reported as input tokens."""
        return sum(count_words(part) for part in (self.system, *(message.content for message in self.messages)))


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """The result of one tool call of the open turn."""

    tool: str
    text: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """The open turn: the prompt that began it, prompts sent while it ran, and its tool results so far, in order."""

    prompts: tuple[str, ...]
    answers: tuple[ToolAnswer, ...]


def open_turn(messages: Sequence[Message]) -> Turn:
    """Return the turn that the last real prompt began. It has no prompts if the last event is an interrupt."""
    prompts: list[str] = []
    answers: list[ToolAnswer] = []
    tools: dict[str, str] = {}
    for message in messages:
        tools |= {block.id: block.name for block in message.blocks if block.type == "tool_use"}
        for block in _joined(message):
            if block.type == "tool_result":
                tool = tools.get(block.tool_use_id, "a tool")
                answers.append(ToolAnswer(tool, plain(block.content), bool(block.is_error)))
            elif block.text.startswith(INTERRUPTED):
                prompts, answers = [], []
            elif message.role == "system" or REMINDERS.fullmatch(block.text):
                prompts += INJECTED.findall(block.text.replace("</system-reminder>", ""))
            elif block.text.strip() and not block.text.startswith(NUDGES):
                prompts, answers = [block.text], []
    return Turn(tuple(prompts), tuple(answers))


def _joined(message: Message) -> Iterator[Block]:
    """Yield a message's tool results and texts, with adjacent texts of one prompt joined by newlines.

    A prompt that failed shares a message with the next one. Claude Code marks that boundary with a newline at the end
    of the earlier text; texts of the same prompt do not end with one.
    """
    text: str | None = None
    for block in message.blocks if message.role != "assistant" else []:
        if block.type == "text" and text is not None and _same_prompt(text, block.text):
            text = f"{text}\n{block.text}"
            continue
        if text is not None:
            yield Block(type="text", text=text)
            text = None
        if block.type == "text":
            text = block.text
        elif block.type == "tool_result":
            yield block
    if text is not None:
        yield Block(type="text", text=text)


def _same_prompt(before: str, after: str) -> bool:
    foreign = any(text.startswith((INTERRUPTED, *NUDGES)) or REMINDERS.fullmatch(text) for text in (before, after))
    return not foreign and not before.endswith("\n")


def plain(content: object) -> str:
    """Return the text of a content field: the string, or the texts of its blocks joined by newlines."""
    match content:
        case str():
            return content
        case list():
            texts = (block.get("text") for block in content if isinstance(block, dict))
            return "\n".join(text for text in texts if isinstance(text, str))
        case _:
            return ""


def count_words(content: object) -> int:
    """Count the words of a content field. Anything but text counts by its JSON."""
    match content:
        case None:
            return 0
        case str():
            return len(content.split())
        case Block():
            return count_words(content.text) + count_words(content.content)
        case {"text": str(text)}:
            return count_words(text)
        case list():
            return sum(count_words(item) for item in content)
        case _:
            return len(json.dumps(content).split())
