"""The stream of a tar that is being unpacked, in bounded pieces.

`tarfile` unpacks each piece of a `tar.gz` whole and copies what is left of it at each read: 200 kB took 200 MB and a
minute. And it reads the headers before an entry into memory, however long they are.
"""

import tarfile
import zlib
from typing import Any, BinaryIO, Final

from jelmore_runner.workspace.answers import PIECE_BYTES, RefusedError

MAX_HEADER_BYTES: Final = 4 * 1024 * 1024
"""How much may stand before one entry: long names, extended attributes, the map of a sparse file."""

_GZIP: Final = 31  # the header and checksum of gzip, with the largest window


class TarStream:
    """Reads a tar or `tar.gz`. `received` is how many bytes of the archive itself were read."""

    def __init__(self, body: BinaryIO, *, zipped: bool) -> None:
        self._body = body
        self._unzip: Any = zlib.decompressobj(_GZIP) if zipped else None
        self._rest = b""
        self._header_left = MAX_HEADER_BYTES
        self._in_header = False
        self.received = 0

    def header(self) -> None:
        """Begin with what stands before an entry: reading more than `MAX_HEADER_BYTES` of it is refused."""
        self._in_header, self._header_left = True, MAX_HEADER_BYTES

    def content(self) -> None:
        """Begin with the content of an entry, whose bytes are counted by who reads it."""
        self._in_header = False

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end. Raises TarError, EOFError and RefusedError."""
        piece = self._received(size) if self._unzip is None else self._unzipped(size)
        if self._in_header:
            self._header_left -= len(piece)
            if self._header_left < 0:
                raise RefusedError("invalid_archive", f"an entry has more than {MAX_HEADER_BYTES} bytes of header")
        return piece

    def _received(self, size: int) -> bytes:
        piece = self._body.read(size)
        self.received += len(piece)
        return piece

    def _unzipped(self, size: int) -> bytes:
        while True:
            if self._unzip.eof:  # another member may follow, behind zeros
                self._rest = (self._unzip.unused_data or self._rest or self._received(PIECE_BYTES)).lstrip(b"\0")
                if not self._rest:
                    return b""
                self._unzip = zlib.decompressobj(_GZIP)
            given = self._rest or self._received(PIECE_BYTES)
            if not given:
                if self.received:
                    raise EOFError("unexpected end of data")
                return b""
            try:
                piece: bytes = self._unzip.decompress(given, size)
            except zlib.error:
                raise tarfile.ReadError("not a gzip file") from None
            self._rest = self._unzip.unconsumed_tail
            if piece:
                return piece
