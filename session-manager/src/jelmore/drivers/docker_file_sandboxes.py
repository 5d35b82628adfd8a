"""`FileSandboxes` on a Docker engine: the session's image on its volume, without a session.

Such a container has the reader label, so it is never taken for the session's own, and a name of its own, so that it
stands in the way of no other manager and of no start of the session.
"""

import secrets
from uuid import UUID

from jelmore.drivers.docker_config import KEY, ContainerOptions, files_config
from jelmore.drivers.docker_engine import START_S, DockerEngine, EngineAddress, EngineError, engine_failure
from jelmore.drivers.docker_images import check_image
from jelmore.drivers.docker_options import EngineOptions, WantedOptions
from jelmore.drivers.docker_workspaces import DockerWorkspaces
from jelmore.drivers.paths import RunPaths, new_key
from jelmore.ports import ControlAddress, FileSandbox, SandboxSpec
from jelmore.session.errors import WorkspaceLostError
from jelmore.session.limits import Limits


class DockerFileSandboxes:
    """The file sandboxes of one installation."""

    def __init__(
        self,
        address: EngineAddress,
        *,
        image: str,
        instance: str,
        paths: RunPaths,
        wanted: WantedOptions = WantedOptions(),  # noqa: B008 - it is frozen
    ) -> None:
        self._engine = DockerEngine(address)
        self._options = EngineOptions(self._engine, wanted, local=address.host.startswith("unix:"))
        self._image = image
        self._instance = instance
        self._paths = paths
        self._workspaces = DockerWorkspaces(self._engine, instance)

    async def start(self, session_id: UUID, *, make: bool = False) -> FileSandbox:
        """Start one more container on the session's volume. With `make`, the volume is made if it is missing."""
        try:
            image = await self._engine.call("GET", f"images/{self._image}/json")
            options = await self._options.known()
            check_image(image, self._image, options)
            spec = SandboxSpec(session_id, 1, Limits(), has_output=not make)
            await self._workspaces.claim(spec)
            return await self._started(session_id, options)
        except EngineError as error:
            raise engine_failure(error, "start a sandbox for files") from None

    async def _started(self, session_id: UUID, options: ContainerOptions) -> FileSandbox:
        self._paths.prepare()
        key = new_key()
        self._paths.make_folder(key)
        folder = self._paths.folder(key)
        config = files_config(session_id, self._image, self._instance, folder, options)
        params = {"name": f"jelmore-{session_id}-files-{secrets.token_hex(4)}"}
        made = None
        try:
            made = await self._engine.call("POST", "containers/create", params=params, body=config, within_s=START_S)
            await self._check_volume(session_id)
            await self._engine.call("POST", f"containers/{made['Id']}/start", within_s=START_S)
        except BaseException:
            if made is not None:
                await self._delete(made["Id"])
            self._paths.clear_folder(key)
            raise
        secret = self._paths.secret(key)
        return FileSandbox(made["Id"], ControlAddress(f"unix:{self._paths.control(key)}", session_id, 0, secret))

    async def _check_volume(self, session_id: UUID) -> None:
        """Raise WorkspaceLostError when the engine made another volume in place of a lost one."""
        if not await self._workspaces.exists(session_id):
            raise WorkspaceLostError(session_id)

    async def remove(self, sandbox_id: str) -> None:
        """Kill and remove the container and its sockets; the volume stays. Absent is success."""
        try:
            inspected = await self._engine.call("GET", f"containers/{sandbox_id}/json")
            await self._delete(sandbox_id)
        except EngineError as error:
            if error.absent:
                return
            raise engine_failure(error, "remove a sandbox for files") from None
        self._paths.clear_folder(inspected["Config"]["Labels"][KEY])

    async def _delete(self, sandbox_id: str) -> None:
        try:
            await self._engine.call("DELETE", f"containers/{sandbox_id}", params={"force": True}, within_s=START_S)
        except EngineError as error:
            if not error.absent and not error.clashes:  # 409: it is being removed already
                raise

    async def close(self) -> None:
        """Close the connections to the engine."""
        await self._engine.close()
