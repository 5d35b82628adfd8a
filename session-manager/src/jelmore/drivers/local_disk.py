"""`DiskSpace` of a folder on this machine."""

import shutil
from pathlib import Path


class LocalDisk:
    """The file system of the manager's data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def free_bytes(self) -> int | None:
        """Return the free bytes; None without the folder: a manager in a container has none."""
        try:
            return shutil.disk_usage(self._folder).free
        except OSError:
            return None
