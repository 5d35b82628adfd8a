"""The agent tries each part of the installation that runs it: admin sockets, stores, the engine, other sessions."""

import base64
import json
import shlex
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.support.engine_relay import ENGINE_SOCKET
from tests.support.stack import Stack, inspect, sockets_below
from tests.support.stack_client import Api, tool_answers
from tests.support.stack_quickstart import QuickStart, family

PROBE: Final = Path(__file__).with_name("reaching.py")
NOWHERE: Final = {"ENOENT", "EACCES", "EPERM", "ENOTDIR", "ECONNREFUSED"}
UNREACHABLE: Final = {"ECONNREFUSED", "ENETUNREACH", "EADDRNOTAVAIL", "EHOSTUNREACH"}
EXPECTED: Final = {
    "socket": NOWHERE,
    "abstract": {"ECONNREFUSED"},
    "tcp": UNREACHABLE,
    "proxy": {"400", "403", "not found"},
    "tunnel": {"400", "403", "not found"},
    "name": {"no such name"},
    "folder": NOWHERE,
}


def accepts(path: str) -> bool:
    """Return whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(3)
        try:
            caller.connect(path)
        except OSError:
            return False
    return True


def listening_ports(pids: list[int]) -> set[int]:
    """Return the TCP ports on which these processes listen."""
    held = set()
    for pid in pids:
        with suppress(OSError):  # it has ended
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):  # it is closed
                    held.add(str(descriptor.readlink()))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in held}


def own_address() -> list[str]:
    """Return the address of this machine that is not loopback, if there is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # sends nothing; the kernel chooses the address
        except OSError:
            return []
        return [str(asking.getsockname()[0])]


async def test_no_part_of_the_installation_is_reached(quick_api: Api, quickstart: Stack) -> None:
    assert isinstance(quickstart, QuickStart)
    assert quickstart._process is not None
    neighbour = await quick_api.create("demo> say hello")
    await quick_api.until(neighbour["id"], status="waiting_input", waiting_for="prompt")
    sockets = [path for path in sockets_below(quickstart.data_dir) if accepts(path)]
    ports = sorted(listening_ports(family(quickstart._process.pid)))
    # What is tried is there: without that, a refusal shows nothing.
    run_dir = quickstart.run_dir
    wanted = (
        "caddy/admin.sock",
        "manager/0.sock",
        "gateway/control.sock",
        "servers/.s.PGSQL.5432",
        "servers/valkey.sock",
    )
    assert {str(run_dir / each) for each in wanted} <= set(sockets), sockets
    mounts = inspect(quickstart.container(neighbour["id"]))["Mounts"]
    of_neighbour = {
        path for path in sockets for mount in mounts if path.startswith(mount["Source"].removesuffix("box"))
    }
    assert {Path(path).name for path in of_neighbour} >= {"control.sock", "runner.sock", "model.sock"}, of_neighbour
    assert accepts(str(ENGINE_SOCKET))
    assert quickstart.port in ports
    assert len(ports) >= 2, "NATS too"

    hosts = [f"{host}:{port}" for host in ("127.0.0.1", "localhost") for port in ports]
    created = await quick_api.create(allowed_tools=["Bash"], network={"mode": "custom", "allow": hosts})
    name = inspect(quickstart.container(neighbour["id"]))["Config"]["Hostname"]
    named = {
        "sockets": [*sockets, str(ENGINE_SOCKET), "/var/run/docker.sock", "/run/containerd/containerd.sock"],
        "ports": ports,
        "addresses": own_address(),
        "sandboxes": [
            name,
            neighbour["id"],
            "localhost.localdomain",
            "host.docker.internal",
            "gateway.docker.internal",
        ],
    }
    packed = base64.b64encode(PROBE.read_bytes()).decode()
    command = f"echo {packed} | base64 -d | python3 - {shlex.quote(json.dumps(named))} 2>&1"
    await quick_api.ask(created["id"], f"demo> run {command}")
    (answer,) = tool_answers(await quick_api.all(created["id"], "output"))
    found: dict[str, Any] = json.loads(answer)
    assert len(found) > 100, "the probe must have tried everything"
    assert {key.split()[0] for key in found} == set(EXPECTED)
    reached = {key: came for key, came in found.items() if came not in EXPECTED[key.split()[0]]}
    assert reached == {}
    # The neighbour has not noticed.
    assert "still here" in (await quick_api.ask(neighbour["id"], "demo> say still here"))["result"]
