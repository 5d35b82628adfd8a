"""Which server to use: flags, then the environment, then the chosen context, then a quick start in this directory.

Contexts are in `$XDG_CONFIG_HOME/jelmore/contexts.json`, readable by its owner only, because it may hold API keys.
Where the system has a keyring, the keys are there (`key_storage`) and an entry says `"key_in": "keyring"`.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DEFAULT_URL: Final = "http://127.0.0.1:8080"


class ContextError(Exception):
    """The file of contexts, or a name in it, cannot be used. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """An address and a key. `source` says where they come from."""

    url: str
    api_key: str
    source: str


def contexts_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the file of contexts."""
    home = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "jelmore" / "contexts.json"


def load(path: Path) -> dict[str, Any]:
    """Return `{current, contexts: {name: {url, api_key}}}`; empty when there is no file. Raises ContextError."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {"current": None, "contexts": {}}
    except (OSError, ValueError) as error:
        raise ContextError(f"{path} cannot be read ({error}); remove it and run 'jelmore login'") from None
    if not isinstance(found, dict) or not isinstance(found.get("contexts"), dict):
        raise ContextError(f"{path} is not a file of contexts; remove it and run 'jelmore login'")
    return found


def save(path: Path, contexts: Mapping[str, Any]) -> None:
    """Write the file of contexts, in one step and for its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(contexts, file, indent=2)
    draft.replace(path)


def choose(url: str | None, context: str | None, environment: Mapping[str, str], folder: Path) -> Server:
    """Return the server to use. `url` and `context` are flags. Raises ContextError."""
    key = environment.get("JELMORE_API_KEY", "")
    if url or (environment.get("JELMORE_URL") and context is None):
        source = "the flag --url" if url else "JELMORE_URL"
        return Server(checked_url(url or environment["JELMORE_URL"], source), key, source)
    known = load(contexts_path(environment))
    name = context or environment.get("JELMORE_CONTEXT") or known.get("current")
    if name:
        entry = known["contexts"].get(name)
        if entry is None:
            names = ", ".join(sorted(known["contexts"])) or "none"
            raise ContextError(f"there is no context {name!r}; known: {names}; 'jelmore login --name {name}' adds it")
        return Server(str(entry["url"]), _key_of(name, entry), f"context {name}")
    near = _quick_start(folder)
    return near or Server(DEFAULT_URL, key, "the default")


def checked_url(url: str, source: str) -> str:
    """Return `url`. Raises ContextError when it is not one of http or https: a scheme is not guessed for a key."""
    if not url.startswith(("http://", "https://")):
        host = url.partition("://")[2] or url
        raise ContextError(f"{source} is {url!r}, which is no URL; write http://{host} or https://{host}")
    return url


def _key_of(name: str, entry: Mapping[str, Any]) -> str:
    if entry.get("key_in") != "keyring":
        return str(entry.get("api_key", ""))
    from jelmore_client.cli import key_storage

    try:
        return key_storage.read(name, str(entry["url"]))
    except key_storage.KeyringError as error:
        raise ContextError(
            f"the key of context {name} is in the system's keyring, which cannot be used: {error}. "
            "Unlock it, or set JELMORE_URL and JELMORE_API_KEY, or keep the key in a file: "
            f"'jelmore login {entry['url']} --name {name} --file'"
        ) from None


def _quick_start(folder: Path) -> Server | None:
    """Return the server that `make run` started in this directory or above.

    Only a private file of this user counts, as the quick start writes it: one that came with somebody's repository
    would lead prompts and files to a server of theirs.
    """
    for place in (folder, *folder.parents):
        file = place / ".jelmore" / "env"
        try:
            state = file.lstat()
            if not stat.S_ISREG(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
                continue
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            continue
        pairs = (line.removeprefix("export ").partition("=") for line in lines)
        values = {name: value.strip("'\"") for name, separator, value in pairs if separator}
        if "JELMORE_URL" in values:
            return Server(values["JELMORE_URL"], values.get("JELMORE_API_KEY", ""), str(file))
    return None
