"""Whether the host has room for another session."""

import shutil
from pathlib import Path

from jelmore.session.errors import CapacityError


class Room:
    """The floor of free disk below which nothing new is started: a full disk loses more than one session."""

    def __init__(self, folder: Path, floor_bytes: int) -> None:
        self._folder = folder
        self._floor_bytes = floor_bytes

    def free_bytes(self) -> int:
        """Return the free disk where the data is."""
        return shutil.disk_usage(self._folder).free

    def check(self) -> None:
        """Raise CapacityError when too little disk is free."""
        free = self.free_bytes()
        if free < self._floor_bytes:
            raise CapacityError(
                f"{free // 2**20} MiB of disk are free, {self._floor_bytes // 2**20} MiB are kept free "
                "(JELMORE_MIN_FREE_DISK_BYTES); delete ended sessions or POST /api/cleanup",
                retry_after_s=60,
            )
