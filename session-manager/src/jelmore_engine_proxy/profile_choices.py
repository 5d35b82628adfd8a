"""The images and runtimes that profiles name, from the file that the manager reads too. It may change meanwhile."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

MAX_BYTES: Final = 1024 * 1024

_log = structlog.get_logger("jelmore_engine_proxy")


@dataclass(frozen=True, slots=True)
class Choices:
    """What sandboxes may have because a profile names it."""

    images: frozenset[str] = frozenset()
    runtimes: frozenset[str] = frozenset()


def choices_in(content: dict[str, Any]) -> Choices:
    """Return what the profiles of a parsed file name. The manager says whether they are valid. Pure."""
    profiles = content.get("profiles")
    tables = [each for each in profiles.values() if isinstance(each, dict)] if isinstance(profiles, dict) else []
    return Choices(_named("image", tables), _named("runtime", tables))


def _named(part: str, tables: list[dict[str, Any]]) -> frozenset[str]:
    values = (table.get(part) for table in tables)
    return frozenset(each for each in values if isinstance(each, str) and each)


class ProfileChoices:
    """Reads the file again when it has changed. While it cannot be read, what it named before stays allowed."""

    def __init__(self, path: Path | None) -> None:
        """Do no I/O. Without a path there are none."""
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._choices = Choices()
        self._fault = ""

    def now(self) -> Choices:
        """Return the choices. Blocks. Raises nothing."""
        if self._path is None:
            return self._choices
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp:
                return self._choices
            self._stamp = stamp
            self._choices = choices_in(_parsed(self._path))
            self._fault = ""
        except (OSError, ValueError, RecursionError) as error:
            if str(error) != self._fault:
                self._fault = str(error)
                _log.warning("profiles_unreadable", file=str(self._path), reason=self._fault)
        return self._choices


def _parsed(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    return tomllib.loads(content.decode())
