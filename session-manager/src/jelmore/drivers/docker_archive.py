"""The one file in a tar archive that the engine sends, read as it arrives: the archive may be larger than memory."""

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
"""Types of entries that only describe the entry which follows them."""


async def only_file(archive: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the content of the first entry; nothing when that is no regular file, or when this is no archive."""
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
