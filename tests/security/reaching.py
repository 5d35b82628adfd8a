"""Run inside a session by the agent, with the standard library only: tries to reach each part of the installation.

The first argument names the parts, as JSON: `sockets` (paths of the host), `ports` (TCP ports of the host's services),
`addresses` (of the host), and `sandboxes` (names and ids of other sandboxes). Prints as JSON what came of each attempt:
`done`, an HTTP status, or the name of the error.
"""

import errno
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def outcome(act: Callable[..., str], *arguments: Any) -> str:
    """Return what a call returns, or the name of its error."""
    try:
        return act(*arguments)
    except socket.gaierror:
        return "no such name"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)


def dialled(path: str) -> str:
    """Connect to a unix socket."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(3)
        caller.connect(path)
    return "done"


def connected(address: str, port: int) -> str:
    """Connect over TCP."""
    with socket.create_connection((address, port), timeout=3):
        return "done"


def answered(proxy: tuple[str, int], request: str) -> str:
    """Return the status of the answer to a request, sent as it is; `not found` when the proxy found no address."""
    with socket.create_connection(proxy, timeout=10) as caller:
        caller.sendall(request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode())
        answer = caller.makefile("rb").read().decode(errors="replace")
    return "not found" if "cannot look up" in answer else " ".join(answer.split()[1:2]) or "closed"


def opened(path: str) -> str:
    """Open a file or list a folder."""
    if Path(path).is_dir():
        os.listdir(path)  # noqa: PTH208 - whether it can be listed is all that matters
    else:
        Path(path).read_bytes()
    return "done"


def paths(sockets: list[str]) -> dict[str, str]:
    """Try the host's paths of sockets, as they are and through the root folders of other processes."""
    found = {f"socket {path}": outcome(dialled, path) for path in sockets}
    for root in ("/proc/1/root", "/proc/self/root", "/.."):
        found |= {f"socket {root}{path}": outcome(dialled, root + path) for path in sockets}
    # Abstract names belong to a network namespace, and the engine's tools use some.
    for name in ("/containerd-shim", "docker", "/tmp/.X11-unix/X0", "/org/freedesktop/systemd1/private"):
        found[f"abstract {name}"] = outcome(dialled, f"\0{name}")
    return found


def ports(addresses: list[str], numbers: list[int]) -> dict[str, str]:
    """Try the services' TCP ports at every address that could be the host's."""
    everywhere = ["127.0.0.1", "::1", "0.0.0.0", *addresses]
    return {f"tcp {address} {port}": outcome(connected, address, port) for address in everywhere for port in numbers}


def through_doors(addresses: list[str], numbers: list[int]) -> dict[str, str]:
    """Try them through the proxy and the model's address, which are the only ways out."""
    found = {}
    url = urlsplit(os.environ["HTTP_PROXY"])
    proxy = (url.hostname or "", url.port or 0)
    for address in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "127.1", "2130706433", "0x7f.1", *addresses):
        for port in numbers:
            host = f"Host: {address}:{port}\r\n\r\n"
            found[f"proxy {address} {port}"] = outcome(
                answered, proxy, f"GET http://{address}:{port}/ HTTP/1.1\r\n{host}"
            )
            found[f"tunnel {address} {port}"] = outcome(answered, proxy, f"CONNECT {address}:{port} HTTP/1.1\r\n{host}")
    for scheme in ("unix:/run/docker.sock", "file:///etc/passwd", "http+unix://%2Frun%2Fdocker.sock/info"):
        found[f"proxy {scheme}"] = outcome(answered, proxy, f"GET {scheme} HTTP/1.1\r\nHost: x\r\n\r\n")
    return found


def others(sandboxes: list[str]) -> dict[str, str]:
    """Try other sandboxes by name, and the folders in which a host keeps them."""
    found = {f"name {name}": outcome(connected, name, 8000) for name in sandboxes}
    for session in sandboxes:
        for folder in ("/jelmore/run/..", "/jelmore/gateway/..", "/session/..", "/var/lib/docker/volumes"):
            found[f"folder {folder}/{session}"] = outcome(opened, f"{folder}/{session}")
    for path in (
        "/var/lib/docker",
        "/var/lib/containerd",
        "/run/containerd",
        "/var/run/docker",
        "/sys/fs/cgroup/../../../dev/sda",
    ):
        found[f"folder {path}"] = outcome(opened, path)
    return found


def main() -> None:
    """Try everything once."""
    named = json.loads(sys.argv[1])
    found = {
        **paths(named["sockets"]),
        **ports(named["addresses"], named["ports"]),
        **through_doors(named["addresses"], named["ports"]),
        **others(named["sandboxes"]),
    }
    print(json.dumps(found))


main()
