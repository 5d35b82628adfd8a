"""Whether the host has enough free disk for another session."""

from collections.abc import Mapping

from jelmore.ports import DiskSpace
from jelmore.session.errors import CapacityError, DependencyError, RefusedError


class DiskCapacity:
    """Refuses new sessions below a floor of free disk: a full disk harms every session.

    `disks` are the file systems of the manager's data and of the sandboxes' volumes. They may be the same one.
    """

    def __init__(self, floor_bytes: int, *disks: DiskSpace) -> None:
        self._floor_bytes = floor_bytes
        self._disks = disks

    async def free_bytes(self) -> int | None:
        """Return the free bytes of the fullest file system; None when none is accessible from this process."""
        found = []
        for disk in self._disks:
            try:
                found.append(await disk.free_bytes())
            except (DependencyError, RefusedError):  # the engine is unavailable
                continue
        return min((free for free in found if free is not None), default=None)

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
