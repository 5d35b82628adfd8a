"""What the first line of a workspace helper's answer says: a result, or an error."""

import json
from collections.abc import Mapping
from typing import Any, Final

from jelmore.session.errors import (
    ConflictError,
    DependencyError,
    InvalidRequestError,
    JelmoreError,
    NotFoundError,
    PreconditionError,
    RepositoryError,
    TooLargeError,
    WorkspaceSpaceError,
)

_ERRORS: Final[Mapping[str, type[JelmoreError]]] = {
    "not_found": NotFoundError,
    "precondition": PreconditionError,
    "no_room": WorkspaceSpaceError,
    "too_large": TooLargeError,
    "invalid": InvalidRequestError,
    "invalid_archive": InvalidRequestError,
    "incomplete": InvalidRequestError,
    "broken_repository": RepositoryError,
    **dict.fromkeys(
        (
            "conflict",
            "exists",
            "git",
            "is_directory",
            "is_link",
            "not_a_file",
            "not_a_repository",
            "not_empty",
            "not_permitted",
        ),
        ConflictError,
    ),
}


def parsed_head(line: bytes) -> Mapping[str, Any]:
    """Return the first line of an answer. Raises what the helper refuses; DependencyError for what is no answer."""
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict):
        raise DependencyError("workspace", "the sandbox answered with something that is no answer")
    if "error" not in head:
        return head
    kind, message = _ERRORS.get(str(head["error"])), str(head.get("message", ""))[:1000]
    message = message.encode("utf-8", "replace").decode()  # half a character in it has no form as JSON
    raise DependencyError("workspace", message) if kind is None else kind(message)
