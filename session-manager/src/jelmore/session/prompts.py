"""Bounds the prompts (permissions, questions, lost inputs) that a session record holds. Pure."""

import json
from itertools import islice
from typing import Any, Final

_MAX_KEPT_CHARACTERS: Final = 256 * 1024
"""Limit for the pending prompts, and for the unanswered ones: the record holds them and is written with each batch."""

_MAX_FIELD_CHARACTERS: Final = 256


def bounded(prompts: tuple[dict[str, Any], ...], most: int) -> tuple[dict[str, Any], ...]:
    """Return the newest `most` prompts. When they do not all fit, the older of them keep their input."""
    kept, room = [], _MAX_KEPT_CHARACTERS
    for prompt in prompts[-most:]:
        kept.append(_fitted(prompt, room))
        room = max(room - len(json.dumps(kept[-1])), 0)
    return tuple(kept)


def _fitted(prompt: dict[str, Any], room: int) -> dict[str, Any]:
    """Return the prompt; if it does not fit, its short fields and a mark instead of its input: enough to answer it."""
    size = len(json.dumps(prompt))
    if size <= room:
        return prompt
    short = {
        name: value[:_MAX_FIELD_CHARACTERS] if isinstance(value, str) else value
        for name, value in islice(prompt.items(), 20)
        if len(name) <= _MAX_FIELD_CHARACTERS and isinstance(value, str | int | float | None)
    }
    return {**short, "input": {"truncated": {"bytes": size}}}
