"""Which `JELMORE_*` variables exist: a mistyped one must not silently disable a limit."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

_PREFIX: Final = "JELMORE_"
_OTHERS: Final = frozenset(
    {
        "JELMORE_URL",  # the quick start writes it for the user's shell
        "JELMORE_CONTEXT",  # of the command `jelmore`, as the next one
        "JELMORE_KEYRING",
        "JELMORE_PYTHON",
        "JELMORE_SESSION",  # set in a session's processes: Jelmore may be developed inside a session
        "JELMORE_RUNNER",
        "JELMORE_BIND",
        "JELMORE_HTTP_PORT",
        "JELMORE_HTTPS_PORT",
        "JELMORE_DOCKER_SOCKET",
        "JELMORE_ENGINE_NETWORK",
        "JELMORE_PROFILES_DIR",
        "JELMORE_MCP_SERVERS_DIR",
        "JELMORE_MCP_SERVERS_MEMORY",
        "JELMORE_MCP_SERVERS_TMP",
        "JELMORE_SITE_SOURCE",
        "JELMORE_CA_FILE",
    }
)
_OTHER_PREFIXES: Final = ("JELMORE_BUILD_", "JELMORE_RUNNER_", "JELMORE_TEST_", "JELMORE_DEBIAN_")
"""Prefixes of variables of compose.yaml, the scripts, and the runner in its container."""


def unknown_name(environment: Mapping[str, str | None], settings: Iterable[str]) -> str | None:
    """Return what is wrong with the first `JELMORE_*` that nothing reads, None if there is none.

    `settings` are the names of the fields of `Settings`.
    """
    known = {_PREFIX + name.upper() for name in settings} | _OTHERS
    for name in sorted(environment):
        if name.startswith(_PREFIX) and name not in known and not name.startswith(_OTHER_PREFIXES):
            words = [each.removeprefix(_PREFIX) for each in sorted(known)]
            near = difflib.get_close_matches(name.removeprefix(_PREFIX), words, n=1)
            hint = f"did you mean {_PREFIX}{near[0]}?" if near else "see docs/configuration.md"
            return f"{name}: there is no such setting; {hint}"
    return None
