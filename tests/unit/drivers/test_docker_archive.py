"""The one file of an archive, whatever the sizes of the pieces that it arrives in."""

import io
import tarfile
from collections.abc import AsyncIterator

import pytest

from jelmore.drivers.docker_archive import only_file
from tests.support.waiting import joined

CONTENT = b"line\n" * 1000


def archive(kind: bytes = tarfile.REGTYPE, *, name: str = "journal.jsonl") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "elsewhere"
        entry.size = len(CONTENT) if kind == tarfile.REGTYPE else 0
        tar.addfile(entry, io.BytesIO(CONTENT))
    return packed.getvalue()


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


@pytest.mark.parametrize("size", [1, 511, 512, 700, 100_000])
@pytest.mark.parametrize("name", ["journal.jsonl", "ü" * 120])
async def test_the_content_of_the_file(size: int, name: str) -> None:
    assert await joined(only_file(pieces(archive(name=name), size))) == CONTENT


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
async def test_what_is_no_file_has_no_content(kind: bytes) -> None:
    assert await joined(only_file(pieces(archive(kind), 700))) == b""


async def test_what_is_no_archive_has_no_content() -> None:
    assert await joined(only_file(pieces(b"x" * 2000, 700))) == b""
    assert await joined(only_file(pieces(b"", 700))) == b""
