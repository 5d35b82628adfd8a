"""`HostMemory` of this machine."""

from pathlib import Path
from typing import Final

from jelmore.session.pool import Memory

_FILE: Final = Path("/proc/meminfo")
"""In a container too, this is the memory of the host."""


class LocalMemory:
    """The memory of the machine of this process. With an engine on another machine, it is not the sandboxes'."""

    def __init__(self, file: Path = _FILE) -> None:
        self._file = file

    def read(self) -> Memory | None:
        """Return the available and the total memory; None when the kernel does not say."""
        try:
            lines = dict(
                line.split(":", 1) for line in self._file.read_text(encoding="ascii").splitlines() if ":" in line
            )
            return Memory(available=_bytes(lines["MemAvailable"]), total=_bytes(lines["MemTotal"]))
        except (OSError, KeyError, ValueError, IndexError):
            return None


def _bytes(text: str) -> int:
    return int(text.split(maxsplit=1)[0]) * 1024
