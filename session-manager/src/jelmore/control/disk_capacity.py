"""Whether the host has room for another session."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from jelmore.ports import Sandboxes
from jelmore.session.errors import CapacityError, DependencyError, RefusedError


class DiskCapacity:
    """The floor of free disk below which nothing new is started: a full disk loses more than one session.

    Two file systems count, and may be one: where the manager's data is, and where the engine keeps the volumes.
    """

    def __init__(self, folder: Path, floor_bytes: int, sandboxes: Sandboxes) -> None:
        self._folder = folder
        self._floor_bytes = floor_bytes
        self._sandboxes = sandboxes

    async def free_bytes(self) -> int | None:
        """Return the free disk, of the fuller file system; None when neither can be seen from here.

        A folder that was never made holds no data (a manager in a container has none), and an engine may be away.
        """
        try:
            engine = await self._sandboxes.free_bytes()
        except (DependencyError, RefusedError):
            engine = None
        own = shutil.disk_usage(self._folder).free if self._folder.is_dir() else None
        return min((free for free in (own, engine) if free is not None), default=None)

    async def check(self) -> None:
        """Raise CapacityError when too little disk is free."""
        free = await self.free_bytes()
        if free is not None and free < self._floor_bytes:
            raise CapacityError(
                f"{free // 2**20} MiB of disk are free, {self._floor_bytes // 2**20} MiB are kept free "
                "(JELMORE_MIN_FREE_DISK_BYTES); delete ended sessions or POST /api/cleanup",
                retry_after_s=60,
            )

    async def to_mapping(self) -> Mapping[str, int | None]:
        """Return the free disk and the floor, as health and statistics show them."""
        return {"free_bytes": await self.free_bytes(), "floor_bytes": self._floor_bytes}
