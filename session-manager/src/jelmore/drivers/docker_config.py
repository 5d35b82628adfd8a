"""The engine's configuration of a session's container. Pure, so that all of its restrictions are in one place."""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from jelmore.drivers.paths import RunPaths
from jelmore.drivers.sandbox_sockets import INNER
from jelmore.ports import FoundSandbox, SandboxSpec
from jelmore.session.agent_uids import AGENT_UIDS, agent_uid
from jelmore.session.limits import Limits
from jelmore.session.world import ControlAddress, Sandbox, SandboxState
from jelmore_protocol.gateway import MODEL_SOCKET

SESSION: Final = "jelmore.session"
GENERATION: Final = "jelmore.generation"
INSTANCE: Final = "jelmore.instance"
KEY: Final = "jelmore.sandbox"
"""Label with the key of the container's socket folder."""

REPLACEMENT: Final = "jelmore.replacement"
"""Label of a volume that the engine created because a container named a missing one. Never used as a workspace."""

READER: Final = "jelmore.reader"
"""Label of a container that exists only for the files of its volume. With `FILES` as its value, it runs."""

AHEAD: Final = "jelmore.pool"
"""Label of a container that was started for the warm pool. It stays when a session has claimed the container."""

FILES: Final = "files"
FILES_MEMORY_BYTES: Final = 1024 * 1024 * 1024
FILES_PIDS: Final = 256

CAPABILITIES: Final = ("KILL", "SETGID", "SETPCAP", "SETUID")
"""The capabilities that the runner needs to run the agent as another user, and no others."""

SECCOMP_FILE: Final = Path(str(resources.files(__package__).joinpath("seccomp.json")))
SECCOMP: Final[str] = json.dumps(json.loads(SECCOMP_FILE.read_text(encoding="utf-8")), separators=(",", ":"))
"""The system calls of a sandbox. Stricter than the engine's own list, above all of Docker before 25: no io_uring, no
sockets but unix, IP and netlink, no 32-bit calls."""

APPARMOR_PROFILE: Final = "jelmore-sandbox"
"""The name of the profile in `runner-image/apparmor/`, which the operator loads on the engine's host."""

OPEN_FILES: Final = 16_384

GVISOR_THREADS_EACH: Final = 3
GVISOR_THREADS: Final = 256
"""Threads of the host that gVisor's kernel may have per process of a sandbox, and beside them. With runsc 20240729,
300 processes had 230 and an idle Claude Code 50. Its kernel, and with it the sandbox, ends when it gets no more."""

CPU_SHARES: Final = 256
"""The weight of a sandbox on a busy processor. Jelmore's own containers have the engine's default, 1024."""

TEMPORARY_BYTES: Final = 512 * 1024 * 1024
AGENT_NAMES: Final = "/var/lib/extrausers"
"""Where the container writes the name of its agent's user id, for programs that ask for it."""

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


ROOT: Final = "0:0"
"""The user and the group with which a sandbox starts."""

SKILLS_ROOT: Final = "/opt/skills"
SKILLS: Final = f"{SKILLS_ROOT}/.claude/skills"
"""Where Claude Code looks for skills in a folder that is added to its own. The agent may not enter `/jelmore`."""


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """How the containers of a deployment are made, beside the session and its limits.

    Without `own_seccomp` the engine's own profile applies, without `apparmor` too. `runtime` None is the engine's
    default, and `open_files` 0 its own limit. `gvisor` says that it is `runsc`, under whatever name. `skills` is the
    deployment's folder of skills, on the engine's machine. Without `agent_uids` the agents of new volumes share the
    image's user.
    """

    own_seccomp: bool = True
    seccomp_file: Path | None = None  # on the engine's machine, for an engine that takes no text: Podman's API
    apparmor: bool = False
    runtime: str | None = None
    gvisor: bool = False
    open_files: int = OPEN_FILES
    cpu_shares: int = CPU_SHARES
    skills: Path | None = None
    agent_uids: range | None = AGENT_UIDS

    @property
    def security(self) -> list[str]:
        """The engine's `SecurityOpt`. Docker takes the seccomp profile as text: nothing has to be on its host."""
        own = [f"seccomp={self.seccomp_file or SECCOMP}"] if self.own_seccomp else []
        return ["no-new-privileges", *own, *([f"apparmor={APPARMOR_PROFILE}"] if self.apparmor else [])]


def container_name(session_id: UUID, generation: int) -> str:
    """Return the container's name. It is unique per generation, so creating the same generation twice fails."""
    return f"jelmore-{session_id}-{generation}"


def volume_name(session_id: UUID) -> str:
    """Return the name of the session's volume."""
    return f"jelmore-{session_id}"


def labels(session_id: UUID, instance: str, extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return the labels of anything that belongs to a session. `extra` cannot override ours."""
    return {**(extra or {}), SESSION: str(session_id), INSTANCE: instance}


def session_of_volume(volume: dict[str, Any]) -> UUID | None:
    """Return the session that a volume's name contains, None when the name has another form."""
    kind, _, rest = str(volume["Name"]).partition("-")
    try:
        return UUID(rest) if kind == "jelmore" and len(rest) == len(str(UUID(int=0))) else None
    except ValueError:
        return None


def container_config(
    spec: SandboxSpec,
    image: str,
    instance: str,
    folder: Path,
    *,
    gateway: Path,
    options: ContainerOptions = ContainerOptions(),
) -> dict[str, Any]:
    """Return the container of one generation of a session: no network, no root, only /session is writable.

    `folder` is its socket folder, `gateway` the folder of its sockets at the gateway.
    """
    skills = options.skills
    shared = [] if skills is None else [{"Type": "bind", "Source": str(skills), "Target": SKILLS, "ReadOnly": True}]
    limits, session_id = spec.limits, spec.session_id
    marks = {GENERATION: str(spec.generation), KEY: folder.name, **({AHEAD: "1"} if spec.ahead else {})}
    return {
        "Image": image,
        # bin/runner becomes `runner` and starts the agent as `agent`, which only root can: an image made from ours
        # may name another user for what it installs.
        "User": ROOT,
        "Hostname": f"s-{str(session_id)[:8]}",
        "Labels": labels(session_id, instance, marks),
        "Env": [
            f"JELMORE_RUNNER_GATEWAY=unix:/jelmore/gateway/{MODEL_SOCKET}",
            *([f"JELMORE_RUNNER_SKILLS={SKILLS_ROOT}"] if skills is not None else []),
            *_agent_uid(session_id, options),
        ],
        "StopSignal": "SIGTERM",
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "Tmpfs": {
                # Without `exec` the engine adds `noexec`: `go run`, configure scripts and builds of wheels
                # start what they have just made there. The workspace, too, is a place for programs.
                "/tmp": f"rw,exec,nosuid,nodev,size={TEMPORARY_BYTES},mode=1777",  # noqa: S108 - inside the container
                AGENT_NAMES: "rw,nosuid,nodev,noexec,size=65536,mode=755",
            },
            "CapDrop": ["ALL"],
            "CapAdd": list(CAPABILITIES),
            "SecurityOpt": options.security,
            **({} if options.runtime is None else {"Runtime": options.runtime}),
            **_processes(limits.pids, options),
            # The image has its own init; the engine's would keep running as root.
            "Init": False,
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "Memory": limits.memory_bytes,
            "MemorySwap": limits.memory_bytes,
            "NanoCpus": int(limits.cpus * SECOND_NS),
            "CpuShares": options.cpu_shares,
            "OomScoreAdj": 500,  # when the host runs out of memory, a session is killed before the manager
            "RestartPolicy": {"Name": "no"},  # the reconciler handles the end of a container
            "LogConfig": LOG,
            "Mounts": [
                _volume(session_id, instance),
                # Mounts, not Binds: with Binds the engine would create a missing source as root instead of failing.
                *shared,
                {"Type": "bind", "Source": str(folder / INNER), "Target": "/jelmore/run"},
                {"Type": "bind", "Source": str(gateway), "Target": "/jelmore/gateway", "ReadOnly": True},
            ],
        },
    }


def _agent_uid(session_id: UUID, options: ContainerOptions) -> list[str]:
    uids = options.agent_uids
    return [] if uids is None else [f"JELMORE_RUNNER_AGENT_UID={agent_uid(session_id, uids)}"]


def _processes(most: int, options: ContainerOptions) -> dict[str, Any]:
    """Return the limits of processes and of what each has open.

    In gVisor the engine's limit is one of its kernel's threads, so the limit of processes is one that this kernel
    knows: that of a user's processes. Elsewhere it is not given: the host would count all runners as one user.
    """
    user_limits = {"nofile": options.open_files, "nproc": most if options.gvisor else 0}
    ulimits = [{"Name": name, "Soft": bound, "Hard": bound} for name, bound in user_limits.items() if bound]
    threads = most * GVISOR_THREADS_EACH + GVISOR_THREADS if options.gvisor else most
    return {"PidsLimit": threads, **({"Ulimits": ulimits} if ulimits else {})}


def config_digest(image_id: str, options: ContainerOptions) -> str:
    """Return what identifies how containers are made, beside the session and its limits."""
    spec, folder = SandboxSpec(UUID(int=0), 1, Limits()), Path("/")
    config = container_config(spec, image_id, "", folder, gateway=folder, options=options)
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def reader_config(session_id: UUID, image: str, instance: str) -> dict[str, Any]:
    """Return a container that is created but never started, so that files of the session's volume can be read."""
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


def files_config(
    session_id: UUID, image: str, instance: str, folder: Path, options: ContainerOptions
) -> dict[str, Any]:
    """Return a container for calls on the files of the session's volume: as restricted as a session's, without one."""
    limits = Limits(FILES_MEMORY_BYTES, 1.0, FILES_PIDS)
    spec = SandboxSpec(session_id, 0, limits)
    config = container_config(spec, image, instance, folder, gateway=folder, options=replace(options, skills=None))
    marks = {READER: FILES, KEY: folder.name}
    env = ["JELMORE_RUNNER_FILES_ONLY=1", *_agent_uid(session_id, options)]
    config |= {"Labels": labels(session_id, instance, marks), "Env": env}
    config["HostConfig"]["Mounts"].pop()  # it has no way out, so it needs no gateway
    return config


def _volume(session_id: UUID, instance: str) -> dict[str, Any]:
    """Return the mount of the session's volume. A volume that the engine creates for it gets the replacement label."""
    marks = {INSTANCE: instance, REPLACEMENT: "1"}
    return {
        "Type": "volume",
        "Source": volume_name(session_id),
        "Target": "/session",
        "VolumeOptions": {"Labels": marks},
    }


def sandbox_of(inspected: dict[str, Any], paths: RunPaths) -> Sandbox:
    """Convert an inspected container to a `Sandbox`. An unknown engine state counts as exited."""
    state = inspected["State"]
    known = _STATES.get(state["Status"], SandboxState.EXITED)
    ended = known is SandboxState.EXITED
    return replace(
        _sandbox(inspected["Id"], known, inspected["Config"]["Labels"], paths),
        exit_code=state.get("ExitCode") if ended else None,
        oom=bool(state.get("OOMKilled")),
    )


def found_sandbox(listed: dict[str, Any], paths: RunPaths) -> FoundSandbox | None:
    """Convert a listed container to a `FoundSandbox`, None when its labels cannot be read."""
    try:
        sandbox = _sandbox(listed["Id"], _STATES.get(listed["State"], SandboxState.EXITED), listed["Labels"], paths)
        return FoundSandbox(UUID(listed["Labels"][SESSION]), sandbox, datetime.fromtimestamp(listed["Created"], UTC))
    except (KeyError, ValueError):
        return None


def folder_key(marks: dict[str, str]) -> str:
    """Return the key of a container's socket folder. Containers of versions without keys use the session's id."""
    return marks.get(KEY) or marks[SESSION]


def _sandbox(container_id: str, state: SandboxState, marks: dict[str, str], paths: RunPaths) -> Sandbox:
    key, generation = folder_key(marks), int(marks[GENERATION])
    control = ControlAddress(f"unix:{paths.control(key)}", UUID(marks[SESSION]), generation, paths.secret(key))
    return Sandbox(generation, state, container_id, control=control, public=paths.public(key))
