"""Words that a shell completes: sessions of the server, contexts, and the actions of a command.

A shell waits for them, so the server has a second; whatever goes wrong, there is no word and no message.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_MOST: Final = 50
_SECONDS: Final = 1.0
_END: Final = 8
"""So many last characters of an id are printed by `jelmore ls`, and name a session."""


def sessions(incomplete: str) -> list[tuple[str, str]]:
    """Return the newest sessions as the end of the id (the whole id, where its beginning was typed) and the title."""
    from jelmore_client import Jelmore
    from jelmore_client.cli import contexts
    from jelmore_client.core.requests import API, Request

    try:
        chosen = contexts.choose(None, None, os.environ, Path.cwd())
        with Jelmore(chosen.url, api_key=chosen.api_key) as client:
            request = Request("GET", f"{API}/sessions", params={"limit": _MOST}, timeout_s=_SECONDS, repeatable=False)
            found = client.request(request)
        names = [(str(each["id"]), _printable(each.get("title"))) for each in found]
    except Exception:  # noqa: BLE001 - a traceback in the middle of a line that somebody types helps nobody
        return []
    ends = [(name[-_END:], title) for name, title in names if name[-_END:].startswith(incomplete)]
    return ends or [(name, title) for name, title in names if name.startswith(incomplete)]


def _printable(title: object) -> str:
    return "".join(each for each in str(title or "") if each.isprintable())


def context_names(incomplete: str) -> list[str]:
    """Return the names of contexts that begin so."""
    from jelmore_client.cli import contexts

    try:
        known = contexts.load(contexts.contexts_path())["contexts"]
    except contexts.ContextError:
        return []
    return [name for name in known if name.startswith(incomplete)]


def words(*known: str) -> Callable[[str], list[str]]:
    """Return a completion of fixed words."""

    def complete(incomplete: str) -> list[str]:
        return [each for each in known if each.startswith(incomplete)]

    return complete
