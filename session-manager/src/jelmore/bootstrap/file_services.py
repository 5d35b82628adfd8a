"""Wires what concerns the files of workspaces, for `bootstrap`."""

from collections.abc import Sequence

from jelmore.bootstrap.drivers import Drivers
from jelmore.bootstrap.loops import Loop
from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.files import Files
from jelmore.control.ports import Ports
from jelmore.control.pushes import Pushes
from jelmore.control.repositories import Repositories
from jelmore.control.sessions import SessionQueries
from jelmore.control.tasks import Tasks
from jelmore.control.workspaces import Workspaces
from jelmore.settings import Settings


class FileServices:
    """The parts of one manager that work on files of workspaces."""

    def __init__(
        self,
        settings: Settings,
        drivers: Drivers,
        ports: Ports,
        queries: SessionQueries,
        disk: DiskCapacity,
        tasks: Tasks,
    ) -> None:
        self.workspaces = Workspaces(ports, drivers.workspace_helpers, drivers.file_sandboxes, tasks)
        self.files = Files(queries, self.workspaces, disk, most_upload_bytes=settings.upload_bytes)
        self.repositories = Repositories(
            drivers.repositories, self.workspaces, ports.sandboxes, disk, most_bytes=settings.upload_bytes
        )
        self.pushes = Pushes(
            drivers.repositories,
            queries,
            self.workspaces,
            prefix=settings.push_prefix,
            most_bytes=settings.upload_bytes,
        )
        self.loops: Sequence[Loop] = ()

    async def close(self) -> None:
        """Remove the sandboxes for files."""
        await self.workspaces.close()
