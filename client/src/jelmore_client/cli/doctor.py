"""`jelmore doctor`: what may be wrong between this machine and a server, with what to do about each finding."""

import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jelmore_client import errors
from jelmore_client.cli.app import FAILED, OK, AsJson, command, server
from jelmore_client.cli.contexts import Server
from jelmore_client.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from jelmore_client import Jelmore

MAX_CLOCK_SKEW_S: Final = 5.0
MIN_FREE_BYTES: Final = 2 * 2**30
_ENGINE: Final = Path("/var/run/docker.sock")
_ENGINE_S: Final = 10.0
_IMAGE: Final = "jelmore/runner"
_PROFILES: Final = Path("/sys/kernel/security/apparmor/profiles")
_PENDING_SIGNALS: Final = 4096
_KERNEL_LIMITS: Final = (
    ("inotify instances", "fs/inotify/max_user_instances", 128, 1024),
    ("inotify watches", "fs/inotify/max_user_watches", 65_536, 524_288),
    ("keys", "kernel/keys/maxkeys", 200, 2_000),
)
"""What a few sessions need, and what many do. A runner uses one instance; a server that watches a project's files uses
some more, and tens of thousands of watches. The engine makes a key per container, counted here when it remaps users."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check; `fix` says what to do when it is not good."""

    check: str
    good: bool
    found: str
    fix: str = ""


@command("doctor")
def doctor(*, as_json: AsJson = False) -> int:
    """Check the connection, the server and this machine; say what to do about each problem."""
    from ipaddress import ip_address

    chosen = server()
    url = urlsplit(chosen.url)
    addresses, dns = _dns(url.hostname or "")
    findings = [dns]
    if addresses:
        findings += _connection(chosen)
    answers = any(each.check == "server" and each.good for each in findings)
    findings += _machine()
    if addresses and all(ip_address(each).is_loopback for each in addresses):
        findings += _server_machine(url.port or _DEFAULT_PORTS.get(url.scheme, 0), answers=answers)
    if as_json:
        for each in findings:
            print_json(asdict(each))
    else:
        rows = [("ok" if each.good else "!!", each.check, each.found) for each in findings]
        print_table(("", "CHECK", "FOUND"), rows)
        for each in findings:
            if not each.good:
                print(f"{each.check}: {each.fix}")  # noqa: T201
    return OK if all(each.good for each in findings) else FAILED


def _dns(host: str) -> tuple[set[str], Finding]:
    """Return the addresses of the server's name, and the finding about them."""
    import socket

    began = time.monotonic()
    try:
        found = {str(each[4][0]).partition("%")[0] for each in socket.getaddrinfo(host, None)}
    except OSError as error:
        fix = f"correct the URL, or let this machine's resolver know {host}: see /etc/resolv.conf and /etc/hosts"
        return set(), Finding("dns", good=False, found=f"{host}: {error}", fix=fix)
    took_s = time.monotonic() - began
    slow = "the resolver of this machine is slow: every call waits for it; check the servers in /etc/resolv.conf"
    words = f"{host} is {', '.join(sorted(found))} ({took_s * 1000:.0f} ms)"
    return found, Finding("dns", good=took_s < 2, found=words, fix=slow)  # noqa: PLR2004 - s


def _connection(chosen: Server) -> Iterator[Finding]:
    from jelmore_client import Jelmore
    from jelmore_client.core.requests import API, Request

    with Jelmore(chosen.url, api_key=chosen.api_key) as client:
        try:
            response = client.send(Request("GET", f"{API}/sessions", params={"limit": 1}))
        except errors.ConnectionFailedError as error:
            fix = "start it ('make run' or 'make up') or set JELMORE_URL"
            yield Finding("server", good=False, found=str(error), fix=fix)
            return
        except errors.UnauthenticatedError:
            yield Finding("server", good=True, found=f"{chosen.url} (from {chosen.source})")
            yield Finding("key", good=False, found=f"refused (from {chosen.source})", fix="jelmore login URL")
            return
        yield Finding("server", good=True, found=f"{chosen.url} (from {chosen.source})")
        yield Finding("key", good=True, found="accepted")
        if "date" in response.headers:
            yield _clock(response.headers["date"], time.time())
        yield from _health(client)


def _clock(date: str, now_s: float) -> Finding:
    from email.utils import parsedate_to_datetime

    skew_s = parsedate_to_datetime(date).timestamp() - now_s
    good, direction = abs(skew_s) < MAX_CLOCK_SKEW_S, "behind" if skew_s > 0 else "ahead of"
    fix = "set the clock of this machine or of the server (timedatectl set-ntp true); tokens expire by the clock"
    found = f"{abs(skew_s):.0f} s apart" if good else f"this machine is {abs(skew_s):.0f} s {direction} the server"
    return Finding("clock", good=good, found=found, fix=fix)


def _health(client: "Jelmore") -> Iterator[Finding]:
    try:
        report = client.health()
    except errors.JelmoreError as error:
        yield Finding("health", good=False, found=str(error), fix="see the server's log")
        return
    overall = str(report.get("status"))
    yield Finding("health", good=overall == "ok", found=overall, fix="see the checks below it")
    checks = report.get("checks")
    for name, check in checks.items() if isinstance(checks, dict) else ():
        status = check.get("status") if isinstance(check, dict) else check
        detail = check.get("error") or check.get("message") or "" if isinstance(check, dict) else ""
        found = f"{status} {detail}".strip()
        yield Finding(f"  {name}", good=status == "ok", found=found, fix=f"docs/operations.md says what {name} is for")


def _machine() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    fix = "free at least 2 GiB: images and workspaces need it"
    yield Finding("disk", good=free > MIN_FREE_BYTES, found=f"{free / 2**30:.0f} GiB free here", fix=fix)


def _server_machine(port: int, *, answers: bool) -> Iterator[Finding]:
    """Yield the checks that matter where the server runs: the port, the engine, its image, the control groups."""
    if not answers:
        yield _port(port)
    groups = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
    yield Finding("cgroups", good=True, found=groups)
    yield from _kernel(_number)
    if not _ENGINE.exists():
        fix = "install and start Docker ('scripts/docker-engine' does both on Debian and Ubuntu), or set DOCKER_HOST"
        known = os.environ.get("DOCKER_HOST")
        yield Finding("docker", good=bool(known), found=f"DOCKER_HOST={known}" if known else f"no {_ENGINE}", fix=fix)
        return
    if not os.access(_ENGINE, os.R_OK | os.W_OK):
        fix = "join the group docker (sudo usermod -aG docker $USER) and log in again"
        yield Finding("docker", good=False, found=f"{_ENGINE}: no permission", fix=fix)
        return
    yield from _engine()


def _number(name: str) -> int | None:
    """Return a setting of the kernel, None where there is no such setting."""
    try:
        return int(Path("/proc/sys", name).read_text())
    except (OSError, ValueError):
        return None


def _kernel(number: Callable[[str], int | None]) -> Iterator[Finding]:
    """Yield the limits that the kernel counts per user. All sandboxes are one user, so they share each of them."""
    for what, name, least, many in _KERNEL_LIMITS:
        value = number(name)
        if value is not None:
            setting = name.replace("/", ".")
            fix = f"'sudo sysctl -w {setting}={many}'; the same line in /etc/sysctl.d/60-jelmore.conf keeps it"
            found = f"{value} for all sessions" + (f"; for many: {fix}" if value < many else "")
            yield Finding(what, good=value >= least, found=found, fix=fix)
    pending, _ = resource.getrlimit(resource.RLIMIT_SIGPENDING)
    fix = "all sessions share it: set LimitSIGPENDING=65536 in the engine's unit (systemctl edit docker)"
    good = pending == resource.RLIM_INFINITY or pending >= _PENDING_SIGNALS
    yield Finding("pending signals", good=good, found=f"{pending} (of this shell)", fix=fix)


def _confinement(options: list[str]) -> Iterator[Finding]:
    """Yield what the engine does to keep containers apart beyond the defaults. None of it has to be there."""
    remaps = any("userns" in each or "rootless" in each for each in options)
    words = "containers have users of their own" if remaps else "all sandboxes are the same users of this host"
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


def _engine() -> Iterator[Finding]:
    import httpx

    transport = httpx.HTTPTransport(uds=str(_ENGINE))
    try:
        with httpx.Client(transport=transport, base_url="http://docker", timeout=_ENGINE_S) as engine:
            version = engine.get("/version").json()
            info = engine.get("/info").json()
            images = engine.get("/images/json", params={"filters": f'{{"reference":["{_IMAGE}"]}}'}).json()
    except (httpx.HTTPError, ValueError) as error:
        fix = "start it (systemctl start docker, or scripts/docker-engine) and look at its log"
        yield Finding("docker", good=False, found=f"{_ENGINE}: {str(error) or type(error).__name__}", fix=fix)
        return
    yield Finding("docker", good=True, found=f"Docker {version.get('Version')}, API {version.get('ApiVersion')}")
    yield _image(images)
    yield from _confinement(info.get("SecurityOptions") or [])


def _image(images: list[dict[str, Any]]) -> Finding:
    tags = sorted(tag for image in images for tag in image.get("RepoTags") or [])
    size = max((int(image.get("Size") or 0) for image in images), default=0)
    fix = "build it with 'scripts/runner-image', or name another one in JELMORE_RUNNER_IMAGE"
    found = f"{', '.join(tags)}, {size / 2**20:,.0f} MiB" if tags else f"no {_IMAGE}"
    return Finding("image", good=bool(tags), found=found, fix=fix)
