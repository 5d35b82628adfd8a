"""The images that profiles name, from the file that the manager reads too. It may change while the proxy runs."""

import tomllib
from pathlib import Path
from typing import Any, Final

import structlog

MAX_BYTES: Final = 1024 * 1024

_log = structlog.get_logger("jelmore_engine_proxy")


def images_in(content: dict[str, Any]) -> frozenset[str]:
    """Return what the profiles of a parsed file name as their image. The manager says whether they are valid. Pure."""
    profiles = content.get("profiles")
    tables = profiles.values() if isinstance(profiles, dict) else ()
    named = (table.get("image") for table in tables if isinstance(table, dict))
    return frozenset(each for each in named if isinstance(each, str) and each)


class ProfileImages:
    """Reads the file again when it has changed. While it cannot be read, what it named before stays allowed."""

    def __init__(self, path: Path | None) -> None:
        """Do no I/O. Without a path there are no images."""
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._images: frozenset[str] = frozenset()
        self._fault = ""

    def now(self) -> frozenset[str]:
        """Return the images. Blocks. Raises nothing."""
        if self._path is None:
            return self._images
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp:
                return self._images
            self._stamp = stamp
            self._images = images_in(_parsed(self._path))
            self._fault = ""
        except (OSError, ValueError, RecursionError) as error:
            if str(error) != self._fault:
                self._fault = str(error)
                _log.warning("profiles_unreadable", file=str(self._path), reason=self._fault)
        return self._images


def _parsed(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    return tomllib.loads(content.decode())
