"""Whether the host has enough free disk for another session."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from jelmore.ports import Sandboxes
from jelmore.session.errors import CapacityError, DependencyError, RefusedError


class DiskCapacity:
    """Refuses new sessions below a floor of free disk: a full disk harms every session.

    Checks the file systems of the manager's data and of the engine's volumes, which may be the same one.
    """

    def __init__(self, folder: Path, floor_bytes: int, sandboxes: Sandboxes) -> None:
        self._folder = folder
        self._floor_bytes = floor_bytes
        self._sandboxes = sandboxes

    async def free_bytes(self) -> int | None:
        """Return the free bytes of the fuller file system; None when neither is accessible from this process.

        The manager's folder may not exist (a manager in a container has none), and the engine may be unavailable.
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
        """Return the free bytes and the floor, as health and statistics present them."""
        return {"free_bytes": await self.free_bytes(), "floor_bytes": self._floor_bytes}
