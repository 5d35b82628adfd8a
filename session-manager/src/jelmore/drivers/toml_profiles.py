"""`ProfileSource` as one TOML file."""

import asyncio
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jelmore.session.errors import InvalidRequestError

MAX_BYTES: Final = 1024 * 1024

type _Stamp = tuple[int, int, int] | None


class TomlProfiles:
    """The file of the setting JELMORE_PROFILES; None: there is none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: _Stamp = None
        self._read_once = False

    @property
    def name(self) -> str | None:
        """The file's name, None for a deployment without profiles."""
        return None if self._path is None else str(self._path)

    async def changed(self) -> bool:
        """Return whether the file may have changed since the last `read`."""
        return self._path is not None and (not self._read_once or await asyncio.to_thread(self._stamp) != self._seen)

    async def read(self) -> Mapping[str, Any]:
        """Return the content of the file. Raises InvalidRequestError that says where it is wrong."""
        self._read_once = True
        return {} if self._path is None else await asyncio.to_thread(self._load, self._path)

    def _load(self, path: Path) -> Mapping[str, Any]:
        self._seen = self._stamp()
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise InvalidRequestError(f"the file is larger than {MAX_BYTES} bytes")
            return tomllib.loads(content.decode())
        except OSError as error:
            raise InvalidRequestError(f"cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InvalidRequestError("is not UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            raise InvalidRequestError(f"is not TOML: {error}") from None

    def _stamp(self) -> _Stamp:
        try:
            found = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)
