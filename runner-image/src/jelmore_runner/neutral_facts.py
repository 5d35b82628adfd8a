"""What an agent said and did, independent of the agent: the data of `said`, `tool_used` and `tool_ended`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, assert_never

from jelmore_protocol.events import EventKind
from jelmore_runner.serialize import cut, encode

MAX_TOOL_BYTES: Final = 64 * 1024
"""The bound of the input and of the output of one tool in its neutral fact. The raw message beside it has all of it."""


@dataclass(frozen=True, slots=True)
class Said:
    """A text: of the agent, or one that the agent's program added as `user`. `thinking`: not meant as an answer."""

    text: str
    role: Literal["assistant", "user"] = "assistant"
    thinking: bool = False


@dataclass(frozen=True, slots=True)
class ToolUsed:
    """The agent started a tool."""

    tool_use_id: str
    tool: str
    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """A tool returned its output, as text."""

    tool_use_id: str
    output: str
    failed: bool = False


type NeutralFact = Said | ToolUsed | ToolEnded


def entry_of(fact: NeutralFact, input_id: str | None, parent: object) -> tuple[EventKind, dict[str, Any]]:
    """Return the journal entry of a fact. `parent` is the tool use that started the sub-agent, if it is one's."""
    about = {"input_id": input_id, "parent_tool_use_id": parent if isinstance(parent, str) else None}
    match fact:
        case Said():
            return EventKind.SAID, {"role": fact.role, "thinking": fact.thinking, "text": fact.text, **about}
        case ToolUsed():
            used = {"tool_use_id": fact.tool_use_id, "tool": fact.tool, "input": _bounded(fact.input)}
            return EventKind.TOOL_USED, {**used, **about}
        case ToolEnded():
            ended = {"tool_use_id": fact.tool_use_id, "failed": fact.failed, **_bounded({"output": fact.output})}
            return EventKind.TOOL_ENDED, {**ended, **about}
        case _:
            assert_never(fact)


def _bounded(value: Mapping[str, Any]) -> dict[str, Any]:
    fits = len(encode(value).encode()) <= MAX_TOOL_BYTES
    return dict(value) if fits else cut(value, MAX_TOOL_BYTES)
