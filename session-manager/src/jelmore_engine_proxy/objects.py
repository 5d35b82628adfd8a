"""Decides by what the engine says of an object: whether it is this installation's, and what of it may be seen. Pure."""

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from jelmore_engine_proxy.policy import INSTANCE, NEVER_STARTED, READER, SESSION, VOLUME_NAME, Policy, RefusedError


class Use(Enum):
    """What a call does with a container."""

    LOOK = "look at"
    START = "start"
    CHANGE = "change"
    READ_FILES = "read files of"
    WRITE_FILES = "write files into"


_INFO: Final = (
    "ID",
    "Architecture",
    "CgroupDriver",
    "CgroupVersion",
    "DefaultRuntime",
    "DockerRootDir",
    "Driver",
    "KernelVersion",
    "MemTotal",
    "NCPU",
    "OSType",
    "OperatingSystem",
    "SecurityOptions",
    "ServerVersion",
)


def check_container(inspected: Mapping[str, Any], use: Use, policy: Policy) -> bytes | None:
    """Return None when the call may continue, or the response to give in place of the engine's.

    Of a container that is not ours it can be seen that it exists, in which state, and our labels: a manager must know
    whose name is taken, and whether its own container is one of this engine. Raises RefusedError for any other use.
    """
    marks = (inspected.get("Config") or {}).get("Labels") or {}
    if marks.get(INSTANCE) != policy.instance or SESSION not in marks:
        if use is not Use.LOOK:
            raise RefusedError(f"cannot {use.value} a container that is not of the installation {policy.instance!r}")
        return json.dumps(_outline(inspected, marks)).encode()
    unstartable = marks.get(READER) == NEVER_STARTED
    if use is Use.START and unstartable:
        raise RefusedError("this container exists only for the files of its volume and is never started")
    if use is Use.WRITE_FILES and not unstartable:
        raise RefusedError("files are written only into a container that is never started")
    return None


def _outline(inspected: Mapping[str, Any], marks: Mapping[str, str]) -> dict[str, Any]:
    ours = {name: value for name, value in marks.items() if name.startswith("jelmore.")}
    status = (inspected.get("State") or {}).get("Status", "")
    return {"Id": inspected.get("Id"), "State": {"Status": status}, "Config": {"Labels": ours}}


def check_volume(volume: Mapping[str, Any], policy: Policy) -> None:
    """Return when the volume may be mounted or removed. Raises RefusedError.

    One without labels may have been restored by hand: its name says whose it is. A volume with options of its driver
    may be a folder of the host.
    """
    name, marks = str(volume.get("Name")), volume.get("Labels") or {}
    found = VOLUME_NAME.fullmatch(name)
    if found is None or marks.get(INSTANCE, policy.instance) != policy.instance:
        raise RefusedError(f"the volume {name[:100]!a} is not of the installation {policy.instance!r}")
    if volume.get("Options") or volume.get("Driver") != "local":
        raise RefusedError(f"the volume {name} has options of its driver, which a workspace has not")


def reduced_info(info: Mapping[str, Any]) -> bytes:
    """Return the part of `info` that Jelmore uses. The rest may hold credentials, of a proxy for one."""
    kept = {name: info[name] for name in _INFO if name in info}
    return json.dumps({**kept, "Runtimes": {name: {} for name in info.get("Runtimes") or {}}}).encode()
