"""A file system that sessions fill."""

from typing import Protocol


class DiskSpace(Protocol):
    """A file system. `Sandboxes` is one as well: that of its volumes."""

    async def free_bytes(self) -> int | None:
        """Return the free bytes; None when the file system is not accessible from this process."""
