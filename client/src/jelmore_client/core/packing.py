"""Packs the local files that a session begins with as one archive, which keeps links and what may be run."""

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import tarfile

type StartingFiles = Mapping[str, bytes | str | Path] | Iterable[str | Path] | str | Path
"""Files and folders by their path in the workspace, with content or a local path; or only local paths.

A local path that is relative and has no `..` is also the path in the workspace; of another one, its name is.
"""


def pack(files: StartingFiles, archive: BinaryIO) -> None:
    """Write the files to `archive` as a tar, the same bytes for the same files. Raises OSError."""
    import tarfile

    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as packed:
        for name, source in _named(files):
            if isinstance(source, Path):
                packed.add(source.resolve(strict=True), arcname=name or ".", filter=_anonymous)
                continue
            entry = tarfile.TarInfo(name)
            entry.size = len(source)
            packed.addfile(entry, io.BytesIO(source))
    archive.flush()  # its size is asked of the file system


def _named(files: StartingFiles) -> Iterator[tuple[str, bytes | Path]]:
    if isinstance(files, Mapping):
        for name, source in files.items():
            yield name, source.encode() if isinstance(source, str) else source
        return
    for path in [files] if isinstance(files, str | os.PathLike) else files:
        local = Path(path)
        outside = local.is_absolute() or ".." in local.parts
        yield local.resolve().name if outside else local.as_posix(), local


def _anonymous(entry: "tarfile.TarInfo") -> "tarfile.TarInfo":
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry
