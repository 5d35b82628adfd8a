"""Requests as values, and whether a failed one may be sent again."""

import json
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from jelmore_client.errors import ApiError, JelmoreError

MAX_ATTEMPTS: Final = 4
_FIRST_DELAY_S: Final = 0.25
_MAX_DELAY_S: Final = 8.0
_MAX_RETRY_AFTER_S: Final = 60.0
_MOST_DOUBLINGS: Final = 10
_TOO_MANY: Final = 429
_TITLE_CHARACTERS: Final = 60
_REFUSED_CODES: Final = frozenset({"draining", "stale"})

API: Final = "/api/v1"

_CREATE_TIMEOUT_S: Final = 120.0
_FETCH_TIMEOUT_S: Final = 300.0
"""How long the server may take to fetch a repository or copy a workspace, besides the rest of a create."""

type Prompt = str | Sequence[Mapping[str, Any]]
"""A text, or content blocks in the form of the Messages API."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the API. `repeatable`: sending it twice has the effect of sending it once."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    content: Any = None
    """The body as bytes, or as an iterator of pieces."""

    files: Sequence[tuple[str, tuple[str | None, Any, str]]] | None = None
    """The parts of a multipart body: name, file name, content and media type."""

    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    timeout_s: float = 60.0
    deadline: float | None = None
    """When its sender gives up with TimeoutError, also between two attempts, on a monotonic clock."""

    def left_s(self, now: float) -> float:
        """Return how long the next attempt may take. Raises TimeoutError after the deadline."""
        if self.deadline is None:
            return self.timeout_s
        if now >= self.deadline:
            raise TimeoutError("no answer within the given time; whether the server acts on it is unknown")
        return min(self.timeout_s, self.deadline - now)


def session_path(session_id: str, *parts: str) -> str:
    """Return the path of a session or of a part of it. Every part is escaped."""
    return path_of("sessions", session_id, *parts)


def create_session(body: Mapping[str, Any], *, wait: bool, idempotency_key: str | None) -> Request:
    """Return the request that creates a session. It carries an idempotency key, so it may be sent again."""
    fetches = any(body.get(name) is not None for name in ("repository", "base"))
    return _creating(f"{API}/sessions", body, wait, idempotency_key, _FETCH_TIMEOUT_S if fetches else 0.0)


def with_archive(create: Request, archive: BinaryIO) -> Request:
    """Return a create whose session begins with what is in a tar. It may be sent again as long as the tar is open."""
    body = (None, json.dumps(create.json), "application/json")
    files = (("session", body), ("archive", ("files.tar", archive, "application/x-tar")))
    return replace(create, json=None, files=files, timeout_s=create.timeout_s + _FETCH_TIMEOUT_S)


def fork_session(session_id: str, body: Mapping[str, Any], *, wait: bool, idempotency_key: str | None) -> Request:
    """Return the request that forks a session. What is None in `body` is left out. May be sent again, as a create."""
    return _creating(session_path(session_id, "fork"), given(**body), wait, idempotency_key, _FETCH_TIMEOUT_S)


def _creating(path: str, body: Mapping[str, Any], wait: bool, key: str | None, more_s: float) -> Request:
    return Request(
        "POST",
        path,
        params={"wait": "1" if wait else "0"},
        json=dict(body),
        headers={"Idempotency-Key": key or new_id()},
        timeout_s=_CREATE_TIMEOUT_S + more_s,
    )


def repository_body(repository: Any) -> dict[str, Any]:
    """Convert a `Repository`, or a mapping with its fields, to the JSON of a create. What is not set is left out."""
    return given(**(repository if isinstance(repository, Mapping) else repository.model_dump()))


def compared(against: str | None, turn: str | int | None = None) -> dict[str, str]:
    """Return the parameters of a comparison with a commit, branch or tag, with `start`, or with before a turn."""
    return given(against=against, turn=None if turn is None else str(turn))


def send_input(
    session_id: str, prompt: Prompt, input_id: str | None, *, expand: bool = False, deadline: float | None = None
) -> Request:
    """Return the request that sends a prompt. It has an id, so the server runs it once however often it arrives."""
    text_or_blocks = prompt if isinstance(prompt, str) else [dict(each) for each in prompt]
    body = {"input": text_or_blocks, "id": input_id or new_id(), **({"expand": True} if expand else {})}
    return Request("POST", session_path(session_id, "input"), json=body, deadline=deadline)


def title_of(prompt: str | None) -> str | None:
    """Return the first line of a prompt as the title of its session, None without words."""
    return (prompt or "").strip().split("\n")[0][:_TITLE_CHARACTERS].strip() or None


def path_of(*parts: str) -> str:
    """Return a path of the API. Every part is escaped."""
    return "/".join([API, *(quote(part, safe="", errors="surrogateescape") for part in parts)])


def given(**values: Any) -> dict[str, Any]:
    """Return those of the query parameters, or fields of a body, that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def new_id() -> str:
    """Return a fresh random id."""
    return secrets.token_hex(16)


def retry_delay_s(request: Request, attempt: int, error: JelmoreError) -> float | None:
    """Return how long to wait before sending `request` again after its failure number `attempt` (from 1).

    None: do not send it again. The server's Retry-After is obeyed up to a minute.
    """
    if attempt >= MAX_ATTEMPTS or not error.retryable:
        return None
    if not request.repeatable and not _nothing_happened(error):
        return None
    after_s = error.retry_after_s if isinstance(error, ApiError) else None
    if after_s is not None:
        return after_s if after_s <= _MAX_RETRY_AFTER_S else None
    return backoff_s(attempt)


def _nothing_happened(error: JelmoreError) -> bool:
    """Return whether the server refused before it did anything.

    Other answers of the 5xx statuses say no more than a broken connection: a proxy gives them for a server that died
    after it had acted.
    """
    return isinstance(error, ApiError) and (error.status == _TOO_MANY or error.code in _REFUSED_CODES)


def backoff_s(attempt: int) -> float:
    """Return a random delay that grows with the number of failures (from 1), at most eight seconds."""
    doublings = min(attempt - 1, _MOST_DOUBLINGS)  # a reader may fail for days
    return min(_MAX_DELAY_S, _FIRST_DELAY_S * 2.0**doublings) * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
