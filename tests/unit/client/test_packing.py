"""The archive of a create's files is on disk as a whole before its size is asked."""

import tempfile
from pathlib import Path

import pytest

from jelmore_client.core.packing import pack


@pytest.mark.parametrize("size", [0, 1, 8191, 10_000, 11_000, 20_000, 70_000])
def test_the_size_of_an_archive_is_that_of_its_content(size: int) -> None:
    with tempfile.TemporaryFile() as archive:
        pack({"file": b"x" * size}, archive)
        on_disk = Path(f"/proc/self/fd/{archive.fileno()}").stat().st_size
        archive.seek(0, 2)
        assert on_disk == archive.tell()
