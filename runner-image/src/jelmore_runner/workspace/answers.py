"""What a helper answers: one line of JSON, then content. And how it refuses."""

import errno
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

PIECE_BYTES: Final = 256 * 1024
MAX_LINE_BYTES: Final = 256 * 1024
"""The largest request line."""

_CODES: Final = {
    errno.ENOENT: "not_found",
    errno.ENOTDIR: "not_found",
    errno.ELOOP: "is_link",
    errno.EISDIR: "is_directory",
    errno.EEXIST: "exists",
    errno.ENOTEMPTY: "not_empty",
    errno.ENOSPC: "no_room",
    errno.EDQUOT: "no_room",
    errno.EFBIG: "no_room",
    errno.EACCES: "not_permitted",
    errno.EPERM: "not_permitted",
    errno.ENAMETOOLONG: "invalid",
}


class RefusedError(Exception):
    """The call cannot be carried out. `code` is for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def refusal_of(error: OSError, what: str) -> RefusedError:
    """Return the refusal that an error of the kernel stands for."""
    code = _CODES.get(error.errno or 0, "failed")
    return RefusedError(code, f"{what}: {error.strerror or error}")


class Answer:
    """Writes one answer to a stream. `started` is true once its first line is written."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.started = False

    def begin(self, **head: Any) -> None:
        """Write the first line."""
        self.started = True
        self._stream.write(json.dumps(head, ensure_ascii=True).encode() + b"\n")

    def write(self, content: bytes) -> int:
        """Write content. Returns its length, as files do."""
        self._stream.write(content)
        return len(content)

    def flush(self) -> None:
        """Send what is buffered."""
        self._stream.flush()


def pieces_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a stream in bounded pieces."""
    while piece := stream.read(PIECE_BYTES):
        yield piece
