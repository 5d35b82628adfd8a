"""The checks of `jelmore doctor` where a server runs: port, control groups, sockets, Docker, the image."""

import os
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MIN_FREE_BYTES: Final = 2 * 2**30
_ENGINE: Final = Path("/var/run/docker.sock")
_ENGINE_S: Final = 10.0
_IMAGE: Final = "jelmore/runner"
_OWN_RUNTIME: Final = "runc"  # stands for the engine's default, whatever its name
_CGROUP2: Final = Path("/sys/fs/cgroup/cgroup.controllers")
_CGROUPS: Final = Path("/proc/cgroups")
_MIN_OPEN_FILES: Final = 4096
_PROFILES: Final = Path("/sys/kernel/security/apparmor/profiles")
_PENDING_SIGNALS: Final = 4096
_KEYS: Final = "kernel/keys/maxkeys"
_KERNEL_LIMITS: Final = (
    ("inotify instances", "fs/inotify/max_user_instances", 128, 1024),
    ("inotify watches", "fs/inotify/max_user_watches", 65_536, 524_288),
    ("keys", _KEYS, 200, 2_000),
)
"""What a few sessions need, and what many do that share it. A runner uses one instance; a server that watches a
project's files uses some more, and tens of thousands of watches. The engine makes a key per container, counted here
when it remaps users."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check; `fix` says what to do when it is not good."""

    check: str
    good: bool
    found: str
    fix: str = ""


def disk() -> Iterator[Finding]:
    """Yield whether there is room where the command runs."""
    free = shutil.disk_usage(Path.cwd()).free
    fix = "free at least 2 GiB: images and workspaces need it"
    yield Finding("space", good=free > MIN_FREE_BYTES, found=f"{free / 2**30:.0f} GiB free here", fix=fix)


def server_machine(port: int, *, answers: bool, runtimes: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the checks that matter where the server runs: the port, the engine, its image, the control groups.

    `runtimes` are those that profiles name, each with the name of a profile.
    """
    yield Finding("port", good=True, found=f"{port} answers") if answers else _port(port)
    yield control_groups(_CGROUP2, _CGROUPS)
    yield _open_files()
    yield from _kernel(_number)
    yield from _engine_of(engine_address(Path.cwd()), runtimes)


def engine_address(folder: Path) -> tuple[str, str]:
    """Return where the server's engine is, and what says so: DOCKER_HOST, else a setting in `.env` of this folder."""
    if given := os.environ.get("DOCKER_HOST"):
        return given, "DOCKER_HOST"
    kept = _dotenv(folder / ".env")
    if kept.get("DOCKER_HOST"):
        return kept["DOCKER_HOST"], "DOCKER_HOST in .env"
    for place, settings in (("", os.environ), (" in .env", kept)):
        if settings.get("JELMORE_DOCKER_SOCKET"):
            return f"unix://{settings['JELMORE_DOCKER_SOCKET']}", f"JELMORE_DOCKER_SOCKET{place}"
    return f"unix://{_ENGINE}", "the default"


def _dotenv(path: Path) -> dict[str, str]:
    """Return the plain lines `NAME=value` of a file; none without the file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, sign, value in pairs if sign}


def _engine_of(address: tuple[str, str], runtimes: Mapping[str, str]) -> Iterator[Finding]:
    where, source = address
    kind, _, rest = where.partition("://")
    if kind == "unix" and rest:
        path = Path(rest)
        if not path.exists():
            fix = (
                "install and start Docker ('scripts/docker-engine' does both on Debian and Ubuntu), or set DOCKER_HOST"
            )
            yield Finding("docker", good=False, found=f"no {path} (from {source})", fix=fix)
        elif not os.access(path, os.R_OK | os.W_OK):
            fix = "join the group docker (sudo usermod -aG docker $USER) and log in again"
            yield Finding("docker", good=False, found=f"{path}: no permission (from {source})", fix=fix)
        else:
            yield from _engine(where, runtimes)
    elif kind == "tcp" and rest:
        yield from _engine(where, runtimes)
    else:
        fix = "set DOCKER_HOST to unix:///PATH or tcp://HOST:PORT: Jelmore reaches an engine by no other way"
        yield Finding("docker", good=False, found=f"{where} (from {source})", fix=fix)


def control_groups(unified: Path, table: Path) -> Finding:
    """Say whether the kernel can bound memory, processes and processor time. The files are those of the kernel."""
    fix = (
        "boot the kernel with cgroup_enable=memory (and without cgroup_disable=…): sessions cannot be bounded otherwise"
    )
    try:
        if unified.exists():
            version, found = "v2", set(unified.read_text().split())
        else:
            rows = [line.split() for line in table.read_text().splitlines() if not line.startswith("#")]
            version, found = "v1", {row[0] for row in rows if row[-1] == "1"}
    except OSError as error:
        return Finding("cgroups", good=False, found=f"cannot be read: {error}", fix=fix)
    missing = sorted({"memory", "pids", "cpu"} - found)
    words = f"{version}, without {', '.join(missing)}" if missing else f"{version} with memory, pids and cpu"
    return Finding("cgroups", good=not missing, found=words, fix=fix)


def _open_files() -> Finding:
    """Say how many sockets a process may have: every session and every reader needs some."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    good = hard == resource.RLIM_INFINITY or hard >= _MIN_OPEN_FILES
    fix = "raise the limit of open files (LimitNOFILE= of its unit, 'ulimits' in Compose, /etc/security/limits.conf)"
    return Finding("sockets", good=good, found=f"a process may have {hard:,} open files and sockets", fix=fix)


def _number(name: str) -> int | None:
    """Return a setting of the kernel, None where there is no such setting."""
    try:
        return int(Path("/proc/sys", name).read_text())
    except (OSError, ValueError):
        return None


def _own_users() -> bool:
    """Return whether agents have users of their own, as far as this environment says: the setting of the server."""
    return os.environ.get("JELMORE_AGENT_UIDS", "") != "off"


def _kernel(number: Callable[[str], int | None]) -> Iterator[Finding]:
    """Yield the limits that the kernel counts per user: per session, or for all whose agents are one user."""
    for what, name, least, many in _KERNEL_LIMITS:
        value = number(name)
        if value is not None:
            setting = name.replace("/", ".")
            fix = f"'sudo sysctl -w {setting}={many}'; the same line in /etc/sysctl.d/60-jelmore.conf keeps it"
            own = _own_users() and name != _KEYS
            more = f"; for many: {fix}" if value < many and not own else ""
            found = f"{value} for {'each session' if own else 'all sessions'}{more}"
            yield Finding(what, good=value >= least, found=found, fix=fix)
    pending, _ = resource.getrlimit(resource.RLIMIT_SIGPENDING)
    shared = "" if _own_users() else "all sessions share it: "
    fix = f"{shared}set LimitSIGPENDING=65536 in the engine's unit (systemctl edit docker)"
    good = pending == resource.RLIM_INFINITY or pending >= _PENDING_SIGNALS
    yield Finding("pending signals", good=good, found=f"{pending} (of this shell)", fix=fix)


def _confinement(options: list[str]) -> Iterator[Finding]:
    """Yield what the engine does to keep containers apart beyond the defaults. None of it has to be there."""
    remaps = any("userns" in each or "rootless" in each for each in options)
    own = _own_users()
    words = f"{'each agent is a user of its own' if own else 'all agents are the same user'} of this host"
    if remaps:
        words = f"containers have users of their own; among them {words.removesuffix(' of this host')}"
    yield Finding("users", good=True, found=words)
    if not any("apparmor" in each for each in options):
        yield Finding("apparmor", good=True, found="not in this kernel, or not used by the engine")
        return
    load = "sudo install -m 0644 runner-image/apparmor/jelmore-sandbox /etc/apparmor.d/ && sudo apparmor_parser -r $_"
    load = load.replace("$_", "/etc/apparmor.d/jelmore-sandbox")
    try:
        loaded = "jelmore-sandbox (" in _PROFILES.read_text()
    except OSError:
        found = f"in force; as root, {_PROFILES} says whether jelmore-sandbox is loaded; to load it: {load}"
        yield Finding("apparmor", good=True, found=found)
        return
    found = "in force, with jelmore-sandbox" if loaded else f"in force, without jelmore-sandbox; to load it: {load}"
    yield Finding("apparmor", good=True, found=found)


def _port(port: int) -> Finding:
    """Say whether the port of a server that does not answer is free, or another program has it."""
    import socket

    taken = True
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            taken = False
        except PermissionError:
            taken = False  # below 1024, and nothing is known
        except OSError:
            pass
    fix = f"'ss -ltnp sport = :{port}' names the program; end it, or choose another port with JELMORE_HTTP_LISTEN"
    return Finding(
        "port", good=not taken, found=f"{port} is {'in use by another program' if taken else 'free'}", fix=fix
    )


def _reached(where: str) -> dict[str, Any]:
    """Return the options of the client that reaches an engine. Raises OSError for certificates that cannot be read."""
    import ssl

    import httpx

    kind, _, rest = where.partition("://")
    if kind == "unix":
        return {"transport": httpx.HTTPTransport(uds=rest), "base_url": "http://docker"}
    if not os.environ.get("DOCKER_TLS_VERIFY"):
        return {"base_url": f"http://{rest}", "trust_env": False}
    folder = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return {"base_url": f"https://{rest}", "verify": context, "trust_env": False}


def _engine(where: str, runtimes: Mapping[str, str]) -> Iterator[Finding]:
    import httpx

    try:
        with httpx.Client(**_reached(where), timeout=_ENGINE_S) as engine:
            version = engine.get("/version").json()
            info = engine.get("/info").json()
            images = engine.get("/images/json", params={"filters": f'{{"reference":["{_IMAGE}"]}}'}).json()
    except (httpx.HTTPError, ValueError, OSError) as error:
        fix = "start it (systemctl start docker, or scripts/docker-engine) and look at its log"
        yield Finding("docker", good=False, found=f"{where}: {str(error) or type(error).__name__}", fix=fix)
        return
    yield Finding("docker", good=True, found=f"Docker {version.get('Version')}, API {version.get('ApiVersion')}")
    yield _image(images)
    yield _runtimes(set(info.get("Runtimes") or {}), runtimes)
    yield from _confinement(info.get("SecurityOptions") or [])


def _runtimes(known: set[str], named: Mapping[str, str]) -> Finding:
    missing = [
        f"{runtime}, which the profile {named[runtime]} names" for runtime in sorted({*named} - {*known, _OWN_RUNTIME})
    ]
    fix = "install it and name it under `runtimes` in the engine's daemon.json; docs/operations.md says how for gVisor"
    found = ", ".join(sorted(known)) or "the engine's own"
    return Finding(
        "runtimes", good=not missing, found=f"{found}; without {', '.join(missing)}" if missing else found, fix=fix
    )


def _image(images: list[dict[str, Any]]) -> Finding:
    tags = sorted(tag for image in images for tag in image.get("RepoTags") or [])
    size = max((int(image.get("Size") or 0) for image in images), default=0)
    fix = "build it with 'scripts/runner-image', or name another one in JELMORE_RUNNER_IMAGE"
    found = f"{', '.join(tags)}, {size / 2**20:,.0f} MiB" if tags else f"no {_IMAGE}"
    return Finding("image", good=bool(tags), found=found, fix=fix)
