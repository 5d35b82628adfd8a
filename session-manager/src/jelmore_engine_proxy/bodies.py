"""Checks the bodies of `containers/create` and `volumes/create`. Pure.

Each object is checked against a complete list of its members, so a field that the engine knows and this file does not
is refused, and so is one in another case: Go's decoder takes `hostconfig` for `HostConfig`. A name that occurs twice is
refused too, because decoders differ in which one counts. The engine gets what was checked, written again.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jelmore_engine_proxy.policy import (
    AHEAD,
    APPARMOR_PROFILE,
    CONTAINER_NAME,
    GENERATION,
    INSTANCE,
    KEY,
    NEVER_STARTED,
    NOT_A_RUNTIME,
    NOT_AN_IMAGE,
    READER,
    REPLACEMENT,
    SESSION,
    VOLUME_NAME,
    Policy,
    RefusedError,
)
from jelmore_protocol.gateway import sandbox_key

MAX_BODY_BYTES: Final = 256 * 1024
"""A sandbox's configuration is about 20 KiB, most of it the list of system calls."""

CAPABILITIES: Final = frozenset({"KILL", "SETGID", "SETPCAP", "SETUID"})
ROOT: Final = "0:0"
"""With the capabilities above, and only until the runner has become a user of its own."""

NO_NEW_PRIVILEGES: Final = "no-new-privileges"
MAX_PIDS: Final = 1_000_000
MAX_OPEN_FILES: Final = 1_048_576
MAX_CPU_SHARES: Final = 1024
"""What a container has that asks for nothing, such as those of the deployment."""

SKILLS: Final = "/opt/skills/.claude/skills"

_FOLDER: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SANDBOX_KEY: Final = re.compile("[0-9a-f]{16}")
_ENV: Final = re.compile(r"JELMORE_RUNNER_[A-Z_]{1,40}=[ -~]{0,1000}")
_TMPFS: Final = {
    "/tmp": re.compile(r"rw,exec,nosuid,nodev,size=[0-9]{1,12},mode=1777"),  # noqa: S108
    "/var/lib/extrausers": re.compile("rw,nosuid,nodev,noexec,size=65536,mode=755"),
}
_HOSTNAME: Final = re.compile("s-[0-9a-f]{8}")
_DIGITS: Final = re.compile("[0-9]{1,9}")
_SIZE: Final = re.compile("[0-9]{1,4}m")

type _Check = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Checked:
    """A body that may go to the engine, with what has to be looked at outside of it."""

    body: bytes
    volume: str
    folders: tuple[Path, ...] = ()


def create_container(raw: bytes, name: str, policy: Policy) -> Checked:
    """Return the body of a `containers/create` for this name. Raises RefusedError that names the field."""
    body = _parsed(raw)
    session = _session_of(CONTAINER_NAME, name, "name")
    marks = _member(body, "Labels", dict)
    reader = marks.get(READER) == NEVER_STARTED
    _labels(marks, session, policy)
    host = _member(body, "HostConfig", dict)
    _members(body, _CONTAINER, "the container")
    if body.get("Image") not in tuple(policy.images):
        raise RefusedError(f"Image: {_shown(body.get('Image'))} is {NOT_AN_IMAGE}")
    _members(host, _HOST, "HostConfig", leave=("Mounts", "SecurityOpt", "Runtime", "ReadonlyRootfs", *_LIMITS))
    for required in ("NetworkMode", "ReadonlyRootfs", "CapDrop"):
        if required not in host:
            raise RefusedError(f"HostConfig.{required}: is missing")
    if host["ReadonlyRootfs"] is not True and not (reader and host["ReadonlyRootfs"] is False):
        raise RefusedError(f"HostConfig.ReadonlyRootfs: {_shown(host['ReadonlyRootfs'])} is not what a sandbox has")
    _security(host.get("SecurityOpt", []), policy, reader=reader)
    runtime = host.get("Runtime", "runc")
    if not (reader and "Runtime" not in host) and runtime not in tuple(policy.runtimes):
        raise RefusedError(f"HostConfig.Runtime: {_shown(runtime)} is {NOT_A_RUNTIME}")
    _limits(host, reader=reader)
    folders = _mounts(host.get("Mounts"), session, marks, policy, reader=reader)
    return Checked(_written(body), f"jelmore-{session}", folders)


def create_volume(raw: bytes, policy: Policy) -> Checked:
    """Return the body of a `volumes/create`. Raises RefusedError that names the field."""
    body = _parsed(raw)
    _members(body, {"Name": _is_text, "Labels": _is_map}, "the volume")
    name = body.get("Name")
    session = _session_of(VOLUME_NAME, name, "Name")
    marks = _member(body, "Labels", dict)
    if marks != {SESSION: session, INSTANCE: policy.instance}:
        raise RefusedError(f"Labels: must be exactly {SESSION}={session} and {INSTANCE}={policy.instance}")
    return Checked(_written(body), str(name))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _is(wanted: Any) -> _Check:
    """Return a check for one value, of the same type: JSON's 1 is not true."""
    return lambda value: type(value) is type(wanted) and value == wanted


def _matches(pattern: re.Pattern[str]) -> _Check:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _between(least: int, most: int) -> _Check:
    return lambda value: type(value) is int and least <= value <= most


def _list_of(check: _Check, most: int) -> _Check:
    return lambda value: isinstance(value, list) and len(value) <= most and all(map(check, value))


def _is_tmpfs(value: Any) -> bool:
    if not isinstance(value, dict) or "/tmp" not in value:  # noqa: S108 - a path in the container
        return False
    return all(path in _TMPFS and _TMPFS[path].fullmatch(str(text)) for path, text in value.items())


def _is_log(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"Type", "Config"} or not isinstance(value["Config"], dict):
        return False
    checks = {"max-size": _matches(_SIZE), "max-file": _matches(_DIGITS)}
    return value["Type"] == "json-file" and all(
        name in checks and checks[name](each) for name, each in value["Config"].items()
    )


def _is_ulimits(value: Any) -> bool:
    """Return whether it is a list of limits of open files and, in gVisor, of a user's processes, each at most once."""
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        return False
    bounds = {"nofile": _between(1, MAX_OPEN_FILES), "nproc": _between(1, MAX_PIDS)}
    for limit in value:
        name = limit.get("Name") if set(limit) == {"Name", "Soft", "Hard"} else None
        bound = bounds.pop(name, None) if isinstance(name, str) else None
        if bound is None or not (bound(limit["Soft"]) and bound(limit["Hard"])):
            return False
    return True


_CONTAINER: Final[Mapping[str, _Check]] = {
    "Image": _is_text,
    "User": _is(ROOT),
    "Hostname": _matches(_HOSTNAME),
    "Labels": _is_map,
    "Env": _list_of(_matches(_ENV), 8),
    "StopSignal": _is("SIGTERM"),
    "HostConfig": _is_map,
}

_LIMITS: Final[Mapping[str, _Check]] = {
    "Memory": _between(1024 * 1024, 2**50),
    "MemorySwap": _between(1024 * 1024, 2**50),
    "NanoCpus": _between(1, 2**50),
    "PidsLimit": _between(1, MAX_PIDS),
}

_HOST: Final[Mapping[str, _Check]] = {
    **_LIMITS,
    "NetworkMode": _is("none"),
    "ReadonlyRootfs": _is(True),
    "Tmpfs": _is_tmpfs,
    "CapDrop": _is(["ALL"]),
    "CapAdd": lambda value: (
        isinstance(value, list) and all(isinstance(each, str) for each in value) and CAPABILITIES.issuperset(value)
    ),
    "SecurityOpt": _list_of(_is_text, 4),
    "Runtime": _is_text,
    "Init": _is(False),
    "IpcMode": _is("private"),
    "CgroupnsMode": _is("private"),
    "CpuShares": _between(2, MAX_CPU_SHARES),
    "OomScoreAdj": _between(0, 1000),
    "RestartPolicy": _is({"Name": "no"}),
    "LogConfig": _is_log,
    "Ulimits": _is_ulimits,
    "Mounts": lambda value: isinstance(value, list),
}


def _parsed(raw: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise RefusedError("the body has a name twice in one object")
        return made

    def constant(text: str) -> Any:
        raise RefusedError(f"the body has {text}, which is not JSON")

    try:
        body = json.loads(raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError):
        raise RefusedError("the body is not JSON in UTF-8") from None
    if not isinstance(body, dict):
        raise RefusedError("the body is not an object")
    return body


def _written(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _shown(value: Any) -> str:
    """Return a value for a message: escaped and short."""
    return ascii(value)[:100]


def _member[T](body: dict[str, Any], name: str, kind: type[T]) -> T:
    value = body.get(name)
    if not isinstance(value, kind):
        raise RefusedError(f"{name}: is missing or has another type")
    return value


def _members(body: dict[str, Any], known: Mapping[str, _Check], where: str, leave: tuple[str, ...] = ()) -> None:
    for name, value in body.items():
        check = known.get(name)
        if check is None:
            raise RefusedError(f"{where}: {_shown(name)} is not a field that Jelmore sets, in this spelling")
        if name not in leave and not check(value):
            raise RefusedError(f"{where}.{name}: {_shown(value)} is not what a sandbox has")


def _session_of(pattern: re.Pattern[str], name: Any, where: str) -> str:
    found = pattern.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        raise RefusedError(f"{where}: {_shown(name)} is not a name of Jelmore's")
    return found[1]


def _labels(marks: dict[str, Any], session: str, policy: Policy) -> None:
    checks: Mapping[str, _Check] = {
        SESSION: _is(session),
        INSTANCE: _is(policy.instance),
        GENERATION: _matches(_DIGITS),
        KEY: _matches(_SANDBOX_KEY),
        AHEAD: _is("1"),
        READER: lambda value: value in (NEVER_STARTED, "files"),
    }
    for required in (SESSION, INSTANCE):
        if required not in marks:
            raise RefusedError(f"Labels: {required} is missing")
    for name, value in marks.items():
        if name not in checks or not checks[name](value):
            raise RefusedError(f"Labels: {_shown(name)}={_shown(value)} is not a label of this installation's session")


def _security(options: Any, policy: Policy, *, reader: bool) -> None:
    """Check the security options. A container that may not be started needs none."""
    if not isinstance(options, list):
        raise RefusedError("HostConfig.SecurityOpt: is not a list")
    apparmor = f"apparmor={APPARMOR_PROFILE}"
    for option in options:
        if option not in (NO_NEW_PRIVILEGES, policy.seccomp, apparmor):
            raise RefusedError(f"HostConfig.SecurityOpt: {_shown(option)} is not an option of a sandbox")
    wanted = {
        NO_NEW_PRIVILEGES: True,
        policy.seccomp: policy.require_seccomp,
        apparmor: policy.require_apparmor,
    }
    for option, required in wanted.items():
        if required and not reader and option not in options:
            raise RefusedError(f"HostConfig.SecurityOpt: {option.partition('{')[0]} is missing")


def _limits(host: dict[str, Any], *, reader: bool) -> None:
    for name, check in _LIMITS.items():
        if name in host and not check(host[name]):
            raise RefusedError(f"HostConfig.{name}: {_shown(host[name])} is no limit of a sandbox")
        if name not in host and not reader:
            raise RefusedError(f"HostConfig.{name}: is missing")
    if host.get("Memory") != host.get("MemorySwap"):
        raise RefusedError("HostConfig.MemorySwap: is not equal to Memory")


def _mounts(mounts: Any, session: str, marks: dict[str, Any], policy: Policy, *, reader: bool) -> tuple[Path, ...]:
    """Return the folders of this host that are mounted. Each target may be mounted once, from its own source."""
    if not isinstance(mounts, list) or not all(isinstance(mount, dict) for mount in mounts):
        raise RefusedError("HostConfig.Mounts: is missing or not a list of objects")
    allowed = _binds(session, marks, mounts, policy) if not reader else {}
    folders, targets = list[Path](), set[str]()
    for mount in mounts:
        target = mount.get("Target")
        if not isinstance(target, str) or target in targets:
            raise RefusedError(f"HostConfig.Mounts: {_shown(target)} is mounted twice, or is no path")
        targets.add(target)
        if target == "/session":
            _volume(mount, session, policy)
        elif mount != allowed.get(target):
            raise RefusedError(
                f"HostConfig.Mounts: {_shown(mount.get('Source'))} at {_shown(target)} is not a sandbox's"
            )
        else:
            folders.append(Path(mount["Source"]))
    if "/session" not in targets:
        raise RefusedError("HostConfig.Mounts: the session's volume at /session is missing")
    return tuple(folders)


def _binds(
    session: str, marks: dict[str, Any], mounts: list[dict[str, Any]], policy: Policy
) -> dict[str, dict[str, Any]]:
    """Return the mounts of folders that this container may have, by their target."""
    gateway = policy.run_dir / "gateway" / sandbox_key(session, int(marks.get(GENERATION, 0)))
    binds = {"/jelmore/gateway": {"Type": "bind", "Source": str(gateway), "ReadOnly": True}}
    if KEY in marks:
        binds["/jelmore/run"] = {"Type": "bind", "Source": str(policy.run_dir / marks[KEY] / "box")}
    source = _skills(mounts, policy)
    if source is not None:
        binds[SKILLS] = {"Type": "bind", "Source": str(source), "ReadOnly": True}
    return {target: {**bind, "Target": target} for target, bind in binds.items()}


def _skills(mounts: list[dict[str, Any]], policy: Policy) -> Path | None:
    """Return the folder of skills that may be mounted: the wanted one if it is a profile's, else the deployment's."""
    asked = next((mount.get("Source") for mount in mounts if mount.get("Target") == SKILLS), None)
    if policy.profile_skills is not None and isinstance(asked, str):
        root, _, name = asked.rpartition("/")
        if root == str(policy.profile_skills) and _FOLDER.fullmatch(name):
            return policy.profile_skills / name
    return policy.skills


def _volume(mount: dict[str, Any], session: str, policy: Policy) -> None:
    marks = {INSTANCE: policy.instance, REPLACEMENT: "1"}
    wanted = {
        "Type": "volume",
        "Source": f"jelmore-{session}",
        "Target": "/session",
        "VolumeOptions": {"Labels": marks},
    }
    rest = {name: value for name, value in mount.items() if name != "ReadOnly"}
    if rest != wanted or type(mount.get("ReadOnly", False)) is not bool:
        raise RefusedError("HostConfig.Mounts: what is mounted at /session is not the session's volume")
