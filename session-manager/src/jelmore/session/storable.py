"""Which parts of a session a store can keep unchanged."""

import json
from dataclasses import asdict, replace
from typing import Any

from jelmore.session.errors import InvalidRequestError
from jelmore.session.pending_inputs import as_json
from jelmore.session.plain_text import clean_text, storable_json, storable_text, to_json
from jelmore.session.record import Session


def storable(session: Session) -> Session:
    """Return the session in a form that can be stored. Text from the agent is cleaned, text from a caller refused.

    Raises InvalidRequestError naming the field.
    """
    for name, value in (("owner", session.owner), ("title", session.title), ("tags", "".join(session.tags))):
        if value is not None and not storable_text(value):
            raise InvalidRequestError(f"{name}: may not contain NUL or half a surrogate pair")
    written = {} if is_stored(session) else {"metadata": session.metadata, **asdict(session.spec)}
    for name, value in written.items():
        if not storable_json(value):
            raise InvalidRequestError(f"{name}: may not contain NUL, half a surrogate pair or a number without a value")
    said = {name: getattr(session, name) for name in ("current_directory", "end_reason", "container_id")}
    cleaned: dict[str, Any] = {
        name: clean_text(value) for name, value in said.items() if value and not storable_text(value)
    }
    if not storable_json(as_json(session.pending_inputs)):
        raise InvalidRequestError("input: may not contain NUL or half a surrogate pair")
    for name in ("pending", "unanswered"):
        prompts = getattr(session, name)
        if prompts and not storable_json(prompts):
            cleaned[name] = tuple(json.loads(to_json(prompts)))
    failure = session.failure
    if failure is not None:
        tail = tuple(map(clean_text, failure.log_tail))
        failure = replace(failure, message=clean_text(failure.message), log_tail=tail)
    return replace(session, failure=failure, **cleaned) if failure is not None or cleaned else session


def is_stored(session: Session) -> bool:
    """Return whether the stored spec and metadata are those of this session."""
    stored = session.stored
    return stored is not None and stored[0] is session.spec and stored[1] is session.metadata
