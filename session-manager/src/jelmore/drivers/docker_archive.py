"""Reads the single file of a tar archive from the engine as a stream: the archive may be larger than memory."""

import tarfile
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

_BLOCK: Final = tarfile.BLOCKSIZE
_ABOUT_THE_NEXT: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
"""Entry types that only describe the entry after them."""


async def only_file(archive: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the content of the first entry. Yields nothing when it is no regular file or the input is no archive."""
    held, skip, left = b"", 0, None
    async for piece in archive:
        held += piece
        while left is None:
            skipped = min(skip, len(held))
            held, skip = held[skipped:], skip - skipped
            if skip or len(held) < _BLOCK:
                break
            header, held = held[:_BLOCK], held[_BLOCK:]
            try:
                entry = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
            except tarfile.HeaderError:
                return
            if entry.type in _ABOUT_THE_NEXT:
                skip = -(-entry.size // _BLOCK) * _BLOCK
            elif not entry.isreg():
                return
            else:
                left = entry.size
        if left is not None:
            content, held = held[:left], b""
            left -= len(content)
            if content:
                yield content
            if left == 0:
                return


def log_text(raw: bytes) -> str:
    """Return what a container printed, without the engine's 8-byte frame headers (stream, length)."""
    parts, at = [], 0
    while at + 8 <= len(raw):
        length = int.from_bytes(raw[at + 4 : at + 8], "big")
        parts.append(raw[at + 8 : at + 8 + length])
        at += 8 + length
    return b"".join(parts).decode("utf-8", "replace")
