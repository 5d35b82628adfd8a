"""What a body may hold: everything that the manager sends, and nothing else."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from jelmore.drivers.docker_config import (
    ContainerOptions,
    container_config,
    files_config,
    labels,
    reader_config,
    volume_name,
)
from jelmore.ports import SandboxSpec
from jelmore.session.limits import Limits
from jelmore_engine_proxy.bodies import create_container, create_volume
from jelmore_engine_proxy.policy import Policy, RefusedError
from jelmore_engine_proxy.settings import own_seccomp
from jelmore_protocol.gateway import sandbox_key

ID: Final = UUID("0a1b2c3d-0000-4000-8000-000000000001")
OTHER: Final = UUID("0a1b2c3d-0000-4000-8000-000000000002")
RUN: Final = Path("/run/jelmore")
SKILLS: Final = Path("/srv/skills")
KEY: Final = "0123456789abcdef"
IMAGE: Final = "jelmore/runner:latest"
NAMES: Final = "rw,nosuid,nodev,noexec,size=65536,mode=755"
TMP: Final = "rw,exec,nosuid,nodev,size=536870912,mode=1777"
NAME: Final = f"jelmore-{ID}-1"
PROFILE_SKILLS: Final = Path("/srv/profile-skills")
POLICY: Final = Policy("here", RUN, frozenset({IMAGE}), own_seccomp(), skills=SKILLS, profile_skills=PROFILE_SKILLS)

type Change = Callable[[dict[str, Any]], object]


def sandbox(**more: Any) -> dict[str, Any]:
    gateway = RUN / "gateway" / sandbox_key(ID, 1)
    return container_config(SandboxSpec(ID, 1, Limits()), IMAGE, "here", RUN / KEY, gateway=gateway, **more)


def file_sandbox() -> dict[str, Any]:
    return files_config(ID, IMAGE, "here", RUN / KEY, ContainerOptions())


def reader() -> dict[str, Any]:
    return reader_config(ID, IMAGE, "here")


def restorer() -> dict[str, Any]:
    config = reader()
    config["HostConfig"]["ReadonlyRootfs"] = False
    config["HostConfig"]["Mounts"][0]["ReadOnly"] = False
    return config


def ahead() -> dict[str, Any]:
    gateway = RUN / "gateway" / sandbox_key(ID, 1)
    return container_config(SandboxSpec(ID, 1, Limits(), ahead=True), IMAGE, "here", RUN / KEY, gateway=gateway)


def with_skills() -> dict[str, Any]:
    return sandbox(options=ContainerOptions(skills=SKILLS))


def with_skills_of_a_profile() -> dict[str, Any]:
    return sandbox(options=ContainerOptions(skills=PROFILE_SKILLS / "review"))


def with_apparmor() -> dict[str, Any]:
    return sandbox(options=ContainerOptions(apparmor=True, open_files=1024, cpu_shares=1024))


MADE: Final = [
    sandbox,
    file_sandbox,
    reader,
    restorer,
    ahead,
    with_skills,
    with_skills_of_a_profile,
    with_apparmor,
]


@pytest.mark.parametrize("made", MADE)
def test_everything_that_the_manager_makes_is_allowed_and_passed_on_unchanged(
    made: Callable[[], dict[str, Any]],
) -> None:
    checked = create_container(json.dumps(made()).encode(), NAME, POLICY)
    assert json.loads(checked.body) == made()
    assert checked.volume == volume_name(ID)


def test_the_folders_to_look_at_are_named() -> None:
    checked = create_container(json.dumps(with_skills()).encode(), NAME, POLICY)
    assert set(checked.folders) == {RUN / KEY / "box", RUN / "gateway" / sandbox_key(ID, 1), SKILLS}


@pytest.mark.parametrize("folder", ["/srv/profile-skills", "..", ".git", "a/b", "", "a/..", "/etc", "a\n"])
def test_only_a_folder_directly_below_that_of_the_profiles_is_mounted(folder: str) -> None:
    body = with_skills_of_a_profile()
    body["HostConfig"]["Mounts"][1]["Source"] = f"{PROFILE_SKILLS}/{folder}"
    with pytest.raises(RefusedError, match="is not a sandbox's"):
        create_container(json.dumps(body).encode(), NAME, POLICY)


def test_the_skills_of_a_profile_are_read_only_and_need_the_setting() -> None:
    body = with_skills_of_a_profile()
    with pytest.raises(RefusedError, match="is not a sandbox's"):
        create_container(json.dumps(body).encode(), NAME, replace(POLICY, profile_skills=None))
    body["HostConfig"]["Mounts"][1]["ReadOnly"] = False
    with pytest.raises(RefusedError, match="is not a sandbox's"):
        create_container(json.dumps(body).encode(), NAME, POLICY)


def host(name: str, value: Any) -> Change:
    return lambda body: body["HostConfig"].__setitem__(name, value)


def top(name: str, value: Any) -> Change:
    return lambda body: body.__setitem__(name, value)


def without(name: str) -> Change:
    return lambda body: body["HostConfig"].pop(name)


def label(name: str, value: Any) -> Change:
    return lambda body: body["Labels"].__setitem__(name, value)


def mount(**fields: Any) -> Change:
    return lambda body: body["HostConfig"]["Mounts"].append(fields)


def mounted(at: int, **fields: Any) -> Change:
    return lambda body: body["HostConfig"]["Mounts"][at].update(fields)


def option(text: str) -> Change:
    return lambda body: body["HostConfig"]["SecurityOpt"].append(text)


REFUSED: Final[dict[str, tuple[Change, str]]] = {
    "another image": (top("Image", "debian:latest"), "Image"),
    "an image by its id": (top("Image", "sha256:" + "0" * 64), "Image"),
    "no image": (lambda body: body.pop("Image"), "Image"),
    "a list of images": (top("Image", [IMAGE]), "Image"),
    "a command": (top("Cmd", ["sh"]), "Cmd"),
    "an entry point": (top("Entrypoint", ["/bin/sh"]), "Entrypoint"),
    "a user": (top("User", "1000"), "User"),
    "a health check": (top("Healthcheck", {"Test": ["CMD", "sh"]}), "Healthcheck"),
    "volumes of its own": (top("Volumes", {"/host": {}}), "Volumes"),
    "a network": (top("NetworkingConfig", {"EndpointsConfig": {"host": {}}}), "NetworkingConfig"),
    "a platform": (top("Platform", "linux/arm64"), "Platform"),
    "a loader's variable": (top("Env", ["LD_PRELOAD=/session/workspace/x.so"]), "Env"),
    "a variable with a line": (top("Env", ["JELMORE_RUNNER_SKILLS=/a\nLD_PRELOAD=x"]), "Env"),
    "another signal": (top("StopSignal", "SIGCONT"), "StopSignal"),
    "another case": (top("hostconfig", {"Privileged": True}), "hostconfig"),
    "upper case": (top("HOSTCONFIG", {"Privileged": True}), "HOSTCONFIG"),
    "a letter that folds to k": (host("NetworKMode", "host"), "NetworKMode"),
    "a sign that Go folds to s": (host("Bind\u017f", ["/:/host"]), "Bind"),
    "privileged": (host("Privileged", True), "Privileged"),
    "privileged in lower case": (host("privileged", True), "privileged"),
    "privileged, even false": (host("Privileged", False), "Privileged"),
    "the host's network": (host("NetworkMode", "host"), "NetworkMode"),
    "another container's network": (host("NetworkMode", "container:abc"), "NetworkMode"),
    "no network mode": (without("NetworkMode"), "NetworkMode"),
    "the host's processes": (host("PidMode", "host"), "PidMode"),
    "the host's ipc": (host("IpcMode", "host"), "IpcMode"),
    "the host's uts": (host("UTSMode", "host"), "UTSMode"),
    "the host's users": (host("UsernsMode", "host"), "UsernsMode"),
    "the host's control groups": (host("CgroupnsMode", "host"), "CgroupnsMode"),
    "another control group": (host("CgroupParent", "/"), "CgroupParent"),
    "a capability": (host("CapAdd", ["SYS_ADMIN"]), "CapAdd"),
    "a capability by its long name": (host("CapAdd", ["CAP_SYS_ADMIN"]), "CapAdd"),
    "all capabilities": (host("CapAdd", ["ALL"]), "CapAdd"),
    "capabilities as a text": (host("CapAdd", "KILL"), "CapAdd"),
    "capabilities kept": (host("CapDrop", []), "CapDrop"),
    "no dropped capabilities": (without("CapDrop"), "CapDrop"),
    "a device": (host("Devices", [{"PathOnHost": "/dev/sda"}]), "Devices"),
    "device requests": (host("DeviceRequests", [{}]), "DeviceRequests"),
    "device rules": (host("DeviceCgroupRules", ["a *:* rwm"]), "DeviceCgroupRules"),
    "binds": (host("Binds", ["/:/host"]), "Binds"),
    "volumes from another": (host("VolumesFrom", ["other"]), "VolumesFrom"),
    "a volume driver": (host("VolumeDriver", "other"), "VolumeDriver"),
    "sysctls": (host("Sysctls", {"kernel.msgmax": "1"}), "Sysctls"),
    "unmasked paths": (host("MaskedPaths", []), "MaskedPaths"),
    "writable paths": (host("ReadonlyPaths", []), "ReadonlyPaths"),
    "groups": (host("GroupAdd", ["0"]), "GroupAdd"),
    "ports": (host("PortBindings", {"80/tcp": [{}]}), "PortBindings"),
    "links": (host("Links", ["other"]), "Links"),
    "hosts": (host("ExtraHosts", ["a:1.2.3.4"]), "ExtraHosts"),
    "a weight above the deployment's": (host("CpuShares", 1025), "CpuShares"),
    "a writable root": (host("ReadonlyRootfs", False), "ReadonlyRootfs"),
    "one that is not true": (host("ReadonlyRootfs", 1), "ReadonlyRootfs"),
    "another runtime": (host("Runtime", "other"), "Runtime"),
    "a restart policy": (host("RestartPolicy", {"Name": "always"}), "RestartPolicy"),
    "another log": (host("LogConfig", {"Type": "syslog", "Config": {"syslog-address": "tcp://x"}}), "LogConfig"),
    "a log option": (host("LogConfig", {"Type": "json-file", "Config": {"labels": "x"}}), "LogConfig"),
    "a temporary folder elsewhere": (host("Tmpfs", {"/session": "rw"}), "Tmpfs"),
    "a temporary folder elsewhere beside the usual": (host("Tmpfs", {"/tmp": TMP, "/etc": "rw"}), "Tmpfs"),
    "names of users that the agent could change": (
        host("Tmpfs", {"/tmp": TMP, "/var/lib/extrausers": "rw,nosuid,nodev,noexec,size=65536,mode=1777"}),
        "Tmpfs",
    ),
    "names of users alone": (host("Tmpfs", {"/var/lib/extrausers": NAMES}), "Tmpfs"),
    "a temporary folder with programs of the host": (host("Tmpfs", {"/tmp": "rw,exec,suid,dev"}), "Tmpfs"),
    "no limit of memory": (without("Memory"), "Memory"),
    "no limit of processes": (without("PidsLimit"), "PidsLimit"),
    "processes without an end": (host("PidsLimit", -1), "PidsLimit"),
    "memory without an end": (host("Memory", 0), "Memory"),
    "swap": (host("MemorySwap", -1), "MemorySwap"),
    "precedence when memory is short": (host("OomScoreAdj", -1000), "OomScoreAdj"),
    "a killer that is off": (host("OomKillDisable", True), "OomKillDisable"),
    "more locked memory": (host("Ulimits", [{"Name": "memlock", "Soft": 64, "Hard": 64}]), "Ulimits"),
    "two limits of open files": (host("Ulimits", [{"Name": "nofile", "Soft": 64, "Hard": 64}] * 2), "Ulimits"),
    "no security options": (without("SecurityOpt"), "SecurityOpt"),
    "no seccomp": (option("seccomp=unconfined"), "SecurityOpt"),
    "another seccomp": (host("SecurityOpt", ["no-new-privileges", "seccomp={}"]), "SecurityOpt"),
    "seccomp left out": (host("SecurityOpt", ["no-new-privileges"]), "SecurityOpt"),
    "new privileges": (host("SecurityOpt", [own_seccomp()]), "SecurityOpt"),
    "new privileges, said so": (option("no-new-privileges=false"), "SecurityOpt"),
    "no apparmor": (option("apparmor=unconfined"), "SecurityOpt"),
    "a label off": (option("label=disable"), "SecurityOpt"),
    "system paths": (option("systempaths=unconfined"), "SecurityOpt"),
    "another installation": (label("jelmore.instance", "there"), "Labels"),
    "no installation": (lambda body: body["Labels"].pop("jelmore.instance"), "Labels"),
    "another session than its name": (label("jelmore.session", str(OTHER)), "Labels"),
    "a label of others": (label("com.docker.compose.project", "jelmore"), "Labels"),
    "a key that climbs": (label("jelmore.sandbox", "../../../etc00000"), "Labels"),
    "no mounts": (without("Mounts"), "Mounts"),
    "the root of the host": (mount(Type="bind", Source="/", Target="/host"), "Mounts"),
    "the engine's socket": (
        mount(Type="bind", Source="/var/run/docker.sock", Target="/var/run/docker.sock"),
        "Mounts",
    ),
    "another source at a known target": (mounted(1, Source="/etc"), "Mounts"),
    "a source that climbs": (mounted(1, Source=f"/run/jelmore/{KEY}/box/../.."), "Mounts"),
    "another sandbox's folder": (mounted(1, Source="/run/jelmore/fedcba9876543210/box"), "Mounts"),
    "another sandbox's gateway": (mounted(2, Source=str(RUN / "gateway" / sandbox_key(OTHER, 1))), "Mounts"),
    "the gateway, writable": (mounted(2, ReadOnly=False), "Mounts"),
    "propagation": (mounted(1, BindOptions={"Propagation": "shared"}), "Mounts"),
    "a source in another case": (mounted(1, source="/etc"), "Mounts"),
    "another session's volume": (mounted(0, Source=volume_name(OTHER)), "volume"),
    "a volume's driver": (
        mounted(0, VolumeOptions={"DriverConfig": {"Name": "local", "Options": {"device": "/"}}}),
        "volume",
    ),
    "a volume as a bind": (mounted(0, Type="bind"), "volume"),
    "a volume twice": (mount(Type="bind", Source="/etc", Target="/session"), "twice"),
    "skills, writable": (mount(Type="bind", Source=str(SKILLS), Target="/opt/skills/.claude/skills"), "Mounts"),
    "no list of mounts": (host("Mounts", {"Type": "bind"}), "Mounts"),
    "a mount that is none": (host("Mounts", ["/:/host"]), "Mounts"),
    "no host configuration": (top("HostConfig", None), "HostConfig"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_body_is_refused_and_the_field_is_named(case: str) -> None:
    change, named = REFUSED[case]
    body = sandbox()
    change(body)
    with pytest.raises(RefusedError, match=named):
        create_container(json.dumps(body).encode(), NAME, POLICY)


def test_a_container_for_reading_may_have_no_security_options_but_nothing_more() -> None:
    for change, named in (
        (host("CapAdd", ["SYS_ADMIN"]), "CapAdd"),
        (mount(Type="bind", Source="/", Target="/h"), "Mounts"),
    ):
        body = reader()
        change(body)
        with pytest.raises(RefusedError, match=named):
            create_container(json.dumps(body).encode(), NAME, POLICY)


OTHERS: Final[tuple[Any, ...]] = (None, True, 0, -1, 1.5, "", "x", "/", [], [[]], {}, {"x": []})


def places(body: Any, *before: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to every value of a body."""
    if before:
        yield before
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for name, value in items:
        yield from places(value, *before, name)


def test_no_value_of_another_type_or_kind_passes_unseen() -> None:
    """Every value of a body, replaced by others: it is refused, never an error of the proxy."""
    passed = set[tuple[str | int, ...]]()
    for place in places(with_skills()):
        for other in OTHERS:
            body: Any = deepcopy(with_skills())
            inner = body
            for step in place[:-1]:
                inner = inner[step]
            if inner[place[-1]] is other:
                continue
            inner[place[-1]] = other
            try:
                create_container(json.dumps(body).encode(), NAME, POLICY)
            except RefusedError:
                continue
            passed.add(place)
    assert passed <= {
        ("Env",),  # none, for a sandbox without a gateway
        ("HostConfig", "CapAdd"),
        ("HostConfig", "OomScoreAdj"),
        ("HostConfig", "LogConfig", "Config"),
    }, passed


GOOD: Final = json.dumps(sandbox())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.encode("utf-16"),
        GOOD.encode() + b"{}",
        GOOD.replace('{"Image"', '{"Image": "debian", "Image"', 1).encode(),
        GOOD.replace('"CapDrop"', '"Privileged": true, "CapDrop": [], "CapDrop"', 1).encode(),
        GOOD.replace('"OomScoreAdj": 500', '"OomScoreAdj": NaN', 1).encode(),
        b'{"a":' * 100_000,
    ],
    ids=["empty", "null", "list", "bytes", "mark", "utf-16", "two", "twice", "twice-below", "nan", "deep"],
)
def test_what_decoders_read_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(RefusedError):
        create_container(raw, NAME, POLICY)


@pytest.mark.parametrize(
    "name", ["", "x", f"jelmore-{OTHER}-1", f"jelmore-{ID}", f"jelmore-{ID}-1/x", f"/jelmore-{ID}-1"]
)
def test_a_container_has_a_name_of_its_session(name: str) -> None:
    with pytest.raises(RefusedError):
        create_container(GOOD.encode(), name, POLICY)


@pytest.mark.parametrize("runtime", ["runsc", "runc", None])
def test_a_second_runtime_is_allowed_beside_the_first(runtime: str | None) -> None:
    both = replace(POLICY, runtimes=frozenset({"runc", "runsc"}))
    body = sandbox(options=ContainerOptions(runtime=runtime))
    assert json.loads(create_container(json.dumps(body).encode(), NAME, both).body) == body
    for other in ("runsc-kvm", "RUNSC", "", "kata", ["runsc"]):
        body["HostConfig"]["Runtime"] = other
        with pytest.raises(RefusedError, match="Runtime"):
            create_container(json.dumps(body).encode(), NAME, both)


def test_what_settings_require_must_be_there() -> None:
    strict = Policy(
        "here", RUN, frozenset({IMAGE}), own_seccomp(), require_apparmor=True, runtimes=frozenset({"runsc"})
    )
    with pytest.raises(RefusedError, match="apparmor=jelmore-sandbox is missing"):
        create_container(GOOD.encode(), NAME, strict)
    body = sandbox()
    body["HostConfig"]["SecurityOpt"].append("apparmor=jelmore-sandbox")
    with pytest.raises(RefusedError, match="Runtime"):
        create_container(json.dumps(body).encode(), NAME, strict)
    body["HostConfig"]["Runtime"] = "runsc"
    create_container(json.dumps(body).encode(), NAME, strict)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (top("Name", "other"), "Name"),
        (top("Name", volume_name(OTHER)), "Labels"),
        (top("Driver", "local"), "Driver"),
        (top("DriverOpts", {"type": "none", "o": "bind", "device": "/"}), "DriverOpts"),
        (top("driveropts", {"device": "/"}), "driveropts"),
        (top("Labels", {}), "Labels"),
        (label("jelmore.instance", "there"), "Labels"),
        (label("jelmore.extra", "x"), "Labels"),
    ],
)
def test_a_volume_has_a_session_s_name_and_labels_and_nothing_else(change: Change, named: str) -> None:
    body: dict[str, Any] = {"Name": volume_name(ID), "Labels": labels(ID, "here")}
    assert json.loads(create_volume(json.dumps(body).encode(), POLICY).body) == body
    change(body)
    with pytest.raises(RefusedError, match=named):
        create_volume(json.dumps(body).encode(), POLICY)
