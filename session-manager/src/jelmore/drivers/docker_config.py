"""What a session's container is made of, as the engine is told: pure, so that every lock on it is read in one place."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from jelmore.drivers.paths import RunPaths
from jelmore.drivers.sandbox_sockets import INNER
from jelmore.ports import FoundSandbox, SandboxSpec
from jelmore.session.world import ControlAddress, Sandbox, SandboxState

SESSION: Final = "jelmore.session"
GENERATION: Final = "jelmore.generation"
INSTANCE: Final = "jelmore.instance"
KEY: Final = "jelmore.sandbox"
"""Names the folder of the container's sockets."""

REPLACEMENT: Final = "jelmore.replacement"
"""On a volume that the engine made because a container names it and it was gone. It is never used as a workspace."""

READER: Final = "jelmore.reader"
"""Marks a container that only lends its volume to be read; it is never started."""

CAPABILITIES: Final = ("KILL", "SETGID", "SETPCAP", "SETUID")
"""What the runner needs to make the agent another user, and nothing else."""

TEMPORARY_BYTES: Final = 512 * 1024 * 1024
LOG: Final = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
SECOND_NS: Final = 1_000_000_000

_STATES: Final = {
    "created": SandboxState.CREATED,
    "running": SandboxState.RUNNING,
    "restarting": SandboxState.RUNNING,
    "paused": SandboxState.PAUSED,
    "removing": SandboxState.EXITED,
    "exited": SandboxState.EXITED,
    "dead": SandboxState.EXITED,
}


def container_name(session_id: UUID, generation: int) -> str:
    """Return the name that makes a second create of the same generation fail."""
    return f"jelmore-{session_id}-{generation}"


def volume_name(session_id: UUID) -> str:
    """Return the name of the session's volume."""
    return f"jelmore-{session_id}"


def labels(session_id: UUID, instance: str, extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return the labels of anything that belongs to a session. Ours come last: nothing overrides them."""
    return {**(extra or {}), SESSION: str(session_id), INSTANCE: instance}


def session_of_volume(volume: dict[str, Any]) -> UUID | None:
    """Return the session of a listed volume, by its name; None when it has another kind of name."""
    kind, _, rest = str(volume["Name"]).partition("-")
    try:
        return UUID(rest) if kind == "jelmore" and len(rest) == len(str(UUID(int=0))) else None
    except ValueError:
        return None


def container_config(spec: SandboxSpec, image: str, instance: str, folder: Path, *, gateway: Path) -> dict[str, Any]:
    """Return the container of one generation of a session (no network, no root, nothing to write but /session).

    `folder` is the one of its sockets.
    """
    limits, session_id = spec.limits, spec.session_id
    marks = {GENERATION: str(spec.generation), KEY: folder.name}
    return {
        "Image": image,
        "Hostname": f"s-{str(session_id)[:8]}",
        "Labels": labels(session_id, instance, marks),
        "StopSignal": "SIGTERM",
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": f"rw,nosuid,nodev,size={TEMPORARY_BYTES},mode=1777"},  # noqa: S108 - inside the container
            "CapDrop": ["ALL"],
            "CapAdd": list(CAPABILITIES),
            "SecurityOpt": ["no-new-privileges"],
            # The image brings an init of its own: the engine's would stay root.
            "Init": False,
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "Memory": limits.memory_bytes,
            "MemorySwap": limits.memory_bytes,
            "NanoCpus": int(limits.cpus * SECOND_NS),
            "PidsLimit": limits.pids,
            "OomScoreAdj": 500,  # a host short of memory loses a session before it loses the manager
            "RestartPolicy": {"Name": "no"},  # a death is the reconciler's to see
            "LogConfig": LOG,
            "Mounts": [
                _volume(session_id, instance),
                # Mounts, not Binds: a missing source is an error in place of a new folder of root's.
                {"Type": "bind", "Source": str(folder / INNER), "Target": "/jelmore/run"},
                {"Type": "bind", "Source": str(gateway), "Target": "/jelmore/gateway", "ReadOnly": True},
            ],
        },
    }


def reader_config(session_id: UUID, image: str, instance: str) -> dict[str, Any]:
    """Return a container that is only ever created, so that the engine opens the session's volume for us."""
    return {
        "Image": image,
        "Labels": labels(session_id, instance, {READER: "1"}),
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "Mounts": [{**_volume(session_id, instance), "ReadOnly": True}],
        },
    }


def _volume(session_id: UUID, instance: str) -> dict[str, Any]:
    """Return the mount of the session's volume. Should the engine have to make it, the volume says so."""
    marks = {INSTANCE: instance, REPLACEMENT: "1"}
    return {
        "Type": "volume",
        "Source": volume_name(session_id),
        "Target": "/session",
        "VolumeOptions": {"Labels": marks},
    }


def sandbox_of(inspected: dict[str, Any], paths: RunPaths) -> Sandbox:
    """Return a container as the reconciler sees it. A state of the engine's that we do not know counts as ended."""
    state = inspected["State"]
    known = _STATES.get(state["Status"], SandboxState.EXITED)
    ended = known is SandboxState.EXITED
    return replace(
        _sandbox(inspected["Id"], known, inspected["Config"]["Labels"], paths),
        exit_code=state.get("ExitCode") if ended else None,
        oom=bool(state.get("OOMKilled")),
    )


def found_sandbox(listed: dict[str, Any], paths: RunPaths) -> FoundSandbox | None:
    """Return a listed container, None when its labels cannot be read."""
    try:
        sandbox = _sandbox(listed["Id"], _STATES.get(listed["State"], SandboxState.EXITED), listed["Labels"], paths)
        return FoundSandbox(UUID(listed["Labels"][SESSION]), sandbox, datetime.fromtimestamp(listed["Created"], UTC))
    except (KeyError, ValueError):
        return None


def folder_key(marks: dict[str, str]) -> str:
    """Return the key of a container's folder; one made before there were keys has its session's id."""
    return marks.get(KEY) or marks[SESSION]


def _sandbox(container_id: str, state: SandboxState, marks: dict[str, str], paths: RunPaths) -> Sandbox:
    key, generation = folder_key(marks), int(marks[GENERATION])
    control = ControlAddress(f"unix:{paths.control(key)}", UUID(marks[SESSION]), generation, paths.secret(key))
    return Sandbox(generation, state, container_id, control=control, public=paths.public(key))
