"""Replies in the wire format of the Messages API: one JSON document, or server-sent events with pauses between them.

Every assistant message begins with the demo model's name, so that it cannot be mistaken for a real model's text. Ids
and token counts (a word is a token) derive from the request. Pure: pauses are returned to the caller, which waits.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from typing import Final

from jelmore_demo.conversation import Request, count_words
from jelmore_demo.directives import NAME, Fail, Reply, Say, Sleep, ToolCall, Words

ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
FIRST_SERVER_STATUS: Final = 500


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause of `seconds` before the next event."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Piece:
    """One content delta of text."""

    text: str


def error_body(status: int, message: str) -> dict[str, object]:
    """Return the error document of an HTTP status."""
    fallback = "api_error" if status >= FIRST_SERVER_STATUS else "invalid_request_error"
    return {"type": "error", "error": {"type": ERROR_TYPES.get(status, fallback), "message": f"{NAME} {message}"}}


def failure_body(fail: Fail) -> dict[str, object]:
    """Return the error document for the directive `fail STATUS`."""
    known = HTTPStatus(fail.status).phrase if fail.status in set(HTTPStatus) else "as asked"
    return error_body(fail.status, f"the prompt asked for a failure: {fail.status} {known}")


def pause_s(reply: Reply) -> float:
    """Return the total of the reply's pauses in seconds."""
    return sum(step.seconds for step in _steps(reply) if isinstance(step, Pause))


def document(request: Request, reply: Reply) -> dict[str, object]:
    """Return the whole reply as one Messages API document (for `stream: false`)."""
    content: list[dict[str, object]] = []
    text = "".join(step.text for step in _steps(reply) if isinstance(step, Piece))
    if text:
        content.append({"type": "text", "text": text})
    if isinstance(reply.ending, ToolCall):
        content.append(_tool_use(request, reply.ending) | {"input": dict(reply.ending.arguments)})
    return _envelope(request) | {
        "content": content,
        "stop_reason": _stop_reason(reply),
        "usage": _usage(request, _output_words(reply)),
    }


def events(request: Request, reply: Reply) -> Iterator[bytes | Pause]:
    """Yield the reply as server-sent events in the Messages API's order, with the pauses between them.

    Only for replies without a failure: a failure is not streamed.
    """
    start = _envelope(request) | {"content": [], "stop_reason": None, "usage": _usage(request, 1)}
    yield event("message_start", {"message": start})
    yield PING
    blocks = 0
    if reply.parts:
        yield from _text_events(reply)
        blocks = 1
    if isinstance(reply.ending, ToolCall):
        yield from _tool_events(request, reply.ending, blocks)
    delta = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    yield event("message_delta", {"delta": delta, "usage": {"output_tokens": _output_words(reply)}})
    yield event("message_stop", {})


def event(name: str, fields: dict[str, object]) -> bytes:
    """Return one server-sent event. Its JSON is ASCII, so any text survives any transport."""
    return f"event: {name}\ndata: {json.dumps({'type': name} | fields)}\n\n".encode("ascii")


PING: Final = event("ping", {})


def _text_events(reply: Reply) -> Iterator[bytes | Pause]:
    yield event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
    for step in _steps(reply):
        match step:
            case Pause():
                yield step
            case Piece(text):
                yield event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}})
    yield event("content_block_stop", {"index": 0})


def _tool_events(request: Request, call: ToolCall, index: int) -> Iterator[bytes]:
    block = _tool_use(request, call) | {"input": {}}
    delta = {"type": "input_json_delta", "partial_json": json.dumps(call.arguments)}
    yield event("content_block_start", {"index": index, "content_block": block})
    yield event("content_block_delta", {"index": index, "delta": delta})
    yield event("content_block_stop", {"index": index})


def _steps(reply: Reply) -> Iterator[Pause | Piece]:
    """Yield the texts piece by piece. The first piece begins with the name; a newline separates two texts."""
    opening = f"{NAME} "
    for part in reply.parts:
        match part:
            case Sleep(seconds):
                yield Pause(seconds)
            case Say(text):
                yield Piece(opening + text)
                opening = "\n"
            case Words(count, delay_ms):
                yield from _spoken(opening, count, delay_ms / 1000)
                opening = "\n"


def _spoken(opening: str, count: int, delay_s: float) -> Iterator[Pause | Piece]:
    for number, before in enumerate(chain([opening], [" "] * (count - 1)), start=1):
        if delay_s:
            yield Pause(delay_s)
        yield Piece(f"{before}word{number}")


def _envelope(request: Request) -> dict[str, object]:
    return {
        "id": f"msg_demo_{_seed(request)}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "stop_sequence": None,
    }


def _tool_use(request: Request, call: ToolCall) -> dict[str, object]:
    return {"type": "tool_use", "id": f"toolu_demo_{_seed(request)}", "name": call.tool}


def _seed(request: Request) -> str:
    """Return the seed of the ids: equal for a repeated request, different for a longer conversation."""
    said = json.dumps([message.model_dump() for message in request.messages])
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def _stop_reason(reply: Reply) -> str:
    return "tool_use" if isinstance(reply.ending, ToolCall) else "end_turn"


def _usage(request: Request, output_tokens: int) -> dict[str, object]:
    return {
        "input_tokens": request.input_words,
        "output_tokens": output_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }


def _output_words(reply: Reply) -> int:
    said = sum(count_words(step.text) for step in _steps(reply) if isinstance(step, Piece))
    called = count_words(dict(reply.ending.arguments)) if isinstance(reply.ending, ToolCall) else 0
    return max(1, said + called)
