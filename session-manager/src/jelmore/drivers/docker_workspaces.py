"""Volumes on a Docker engine: found by name, checked by label, created only for a first start.

The engine creates a missing volume that a container names. Such a replacement has its own label and is never used in
place of the lost workspace.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from jelmore.drivers.docker_config import INSTANCE, REPLACEMENT, SESSION, labels, session_of_volume, volume_name
from jelmore.drivers.docker_engine import DockerEngine, EngineError, engine_failure
from jelmore.ports import Leftover, SandboxSpec
from jelmore.session.errors import ConflictError, RefusedError, WorkspaceLostError

_NAMES: Final = "^jelmore-"


class DockerWorkspaces:
    """The volumes of one installation. A volume without labels (restored by hand) is recognised by its name."""

    def __init__(self, engine: DockerEngine, instance: str) -> None:
        self._engine = engine
        self._instance = instance

    async def claim(self, spec: SandboxSpec) -> None:
        """Check the session's volume, or create it for a first start. May run twice.

        Raises WorkspaceLostError when it is missing, RefusedError when it belongs to another installation, and
        EngineError.
        """
        volume = await self._find(spec.session_id)
        if volume is None and spec.first_start:
            body = {"Name": volume_name(spec.session_id), "Labels": labels(spec.session_id, self._instance)}
            volume = await self._engine.call("POST", "volumes/create", body=body)
        if volume is None or _is_replacement(volume):
            raise WorkspaceLostError(spec.session_id)
        if not self._ours(volume):
            raise RefusedError(
                "docker",
                f"the volume {volume['Name']} belongs to the installation {_owner(volume)!r}, this one is "
                f"{self._instance!r}: set JELMORE_INSTANCE to use what that installation made",
            )

    async def exists(self, session_id: UUID) -> bool:
        """Return whether the session has a volume of this installation."""
        try:
            volume = await self._find(session_id)
        except EngineError as error:
            raise engine_failure(error, "look at a volume") from None
        return volume is not None and self._ours(volume)

    async def erase(self, session_id: UUID) -> None:
        """Remove the session's volume. Absent is success. Raises ConflictError while a container uses it."""
        try:
            volume = await self._find(session_id)
        except EngineError as error:
            raise engine_failure(error, "look at a volume") from None
        if volume is None:
            return
        if not self._ours(volume):
            raise RefusedError("docker", f"the volume {volume['Name']} is not one of this installation's workspaces")
        await self._delete(volume["Name"])

    async def kept(self) -> Sequence[UUID]:
        """Return the sessions whose volume exists."""
        listed = await self._list()
        return [each for volume in listed if self._ours(volume) and (each := session_of_volume(volume)) is not None]

    async def leftovers(self) -> list[Leftover]:
        """Return the volumes with our label that are not the workspace of any session."""
        found = []
        for volume in await self._list():
            if _owner(volume) != self._instance:
                continue
            if _is_replacement(volume):
                found.append(Leftover("replacement", volume["Name"], "the engine made it in place of a lost volume"))
            elif not self._ours(volume) or session_of_volume(volume) is None:
                found.append(Leftover("volume", volume["Name"], "its name and labels name no session", removable=False))
        return found

    async def clear(self, name: str) -> None:
        """Remove a replacement volume. Absent is success. Raises ConflictError while a container uses it."""
        await self._delete(name)

    async def _delete(self, name: str) -> None:
        try:
            await self._engine.call("DELETE", f"volumes/{name}")
        except EngineError as error:
            if error.clashes:
                raise ConflictError(f"the volume {name} is in use") from None
            if not error.absent:
                raise engine_failure(error, "remove a volume") from None

    async def _find(self, session_id: UUID) -> dict[str, Any] | None:
        try:
            volume: dict[str, Any] = await self._engine.call("GET", f"volumes/{volume_name(session_id)}")
        except EngineError as error:
            if error.absent:
                return None
            raise
        return volume

    async def _list(self) -> list[dict[str, Any]]:
        """Return volumes that have our label or a name of the same form."""
        wanted = ({"label": [f"{INSTANCE}={self._instance}"]}, {"name": [_NAMES]})
        try:
            answers = await asyncio.gather(
                *(self._engine.call("GET", "volumes", params={"filters": filters}) for filters in wanted)
            )
        except EngineError as error:
            raise engine_failure(error, "list volumes") from None
        found = {volume["Name"]: volume for answer in answers for volume in answer["Volumes"] or []}
        return list(found.values())

    def _ours(self, volume: dict[str, Any]) -> bool:
        """Return False when labels assign the volume to another installation or session, or mark a replacement."""
        session = session_of_volume(volume)
        if _is_replacement(volume):
            return False
        marks = volume.get("Labels") or {}
        return _owner(volume) in {None, self._instance} and marks.get(SESSION) in {None, str(session)}


def _owner(volume: dict[str, Any]) -> str | None:
    owner: str | None = (volume.get("Labels") or {}).get(INSTANCE)
    return owner


def _is_replacement(volume: dict[str, Any]) -> bool:
    return REPLACEMENT in (volume.get("Labels") or {})
