"""Answers that people type to an agent's questions: pure."""

from collections.abc import Sequence
from typing import Any


class UnclearError(Exception):
    """What was typed is not an answer. The text says what is."""


def parts_of(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the questions of the input of a request."""
    return [each for each in given.get("questions") or [] if isinstance(each, dict)]


def labels_of(part: dict[str, Any]) -> list[str]:
    """Return the labels of a question's options."""
    return [str(each.get("label")) for each in part.get("options") or [] if isinstance(each, dict)]


def choice(part: dict[str, Any], typed: str) -> str | list[str]:
    """Return what was typed as an answer: numbers become labels; a list where several may be chosen.

    Raises UnclearError.
    """
    labels = labels_of(part)
    if not typed:
        raise UnclearError("type a number or an answer")
    several = bool(part.get("multiSelect"))
    words = [word.strip() for word in typed.split(",")] if several else [typed]
    numbered = {str(number): label for number, label in enumerate(labels, 1)}
    words = [numbered.get(word, word) for word in words if word]
    return words if several else words[0]


def choices(given: dict[str, Any], typed: Sequence[str]) -> dict[str, str | list[str]]:
    """Return the answers to all questions of a request, one of `typed` for each. Raises UnclearError."""
    parts = parts_of(given)
    if len(typed) != len(parts):
        asked = "; ".join(f"{part.get('question')} ({', '.join(labels_of(part))})" for part in parts)
        raise UnclearError(f"the agent asks a question: give --choose for each, in this order: {asked}")
    return {str(part["question"]): choice(part, text.strip()) for part, text in zip(parts, typed, strict=True)}
