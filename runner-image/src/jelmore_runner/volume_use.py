"""What a session's volume holds, as its file system counts it, where the volume has a file system of its own.

This includes what no walk over its folders finds, such as a deleted file whose only descriptor is on its way through a
socket. A volume that is a folder of the host's disk has no such figure.
"""

import os
from collections.abc import Sequence
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_OF_THE_HOST = frozenset({"9p"})
"""How gVisor shows a folder of the host: always from `/`, with the figures of the whole disk."""


def volume_use(folders: Sequence[Path]) -> int:
    """Return the bytes in use on the volume that holds all `folders`; 0 when others share its file system.

    A project quota that the host sets on the volume's folder shows in the same figure only if the folder is mounted
    as a file system of its own.
    """
    place = os.path.commonpath(folders)
    try:
        if not has_own_file_system(place, _MOUNTS.read_text("utf-8", "replace")):
            return 0
        figures = os.statvfs(place)
    except OSError:
        return 0
    return (figures.f_blocks - figures.f_bfree) * figures.f_frsize


def has_own_file_system(place: str, mountinfo: str) -> bool:
    """Return whether a whole file system is mounted at `place` itself. Pure; `mountinfo` as proc(5) describes it."""
    own = False
    for line in mountinfo.splitlines():
        fields = line.split()
        if len(fields) > 4 and _unescaped(fields[4]) == place:  # noqa: PLR2004 - the mount point; a later one hides it
            own = fields[3] == "/" and _kind(fields) not in _OF_THE_HOST
    return own


def _kind(fields: Sequence[str]) -> str:
    """Return the type of the file system: it follows a hyphen, after a number of optional fields."""
    _, _, rest = " ".join(fields).partition(" - ")
    return rest.partition(" ")[0]


def _unescaped(path: str) -> str:
    """Return a path of mountinfo, which writes spaces and backslashes as octal numbers."""
    return path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
