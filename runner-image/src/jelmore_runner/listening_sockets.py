"""Reads from /proc which TCP ports of the loopback have a listener, and which of these belong to the agent.

People reach the agent's servers through the runner. The runner itself listens on the same loopback (its way to the
model and to other hosts), so a port is reached only if the kernel says that its listener is the agent's.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jelmore_runner import processes
from jelmore_runner.agent_user import agent_uid

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN: Final = "0A"
_V4_LOOPBACK: Final = frozenset({"0100007F", "0000000000000000FFFF00000100007F"})
_V4_ANY: Final = frozenset({"00000000", "0000000000000000FFFF000000000000"})
_V6_LOOPBACK: Final = "00000000000000000000000001000000"
_V6_ANY: Final = "0" * 32


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """One listening socket. `address` is as the kernel writes it: hexadecimal words in the machine's byte order."""

    address: str
    port: int
    uid: int
    inode: int


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection to a port goes, in the order of attempts, and every socket that could take it."""

    hosts: tuple[str, ...]
    sockets: tuple[ListeningSocket, ...]


def listening_sockets() -> list[ListeningSocket]:
    """Return every listening TCP socket of this network namespace."""
    found: list[ListeningSocket] = []
    for table in _TABLES:
        try:
            text = table.read_text(encoding="ascii")
        except OSError:  # a kernel without IPv6
            continue
        found += parsed(text)
    return found


def parsed(table: str) -> Iterator[ListeningSocket]:
    """Yield the listening sockets in the text of /proc/net/tcp or tcp6."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            yield ListeningSocket(address, int(port, 16), int(fields[7]), int(fields[9]))


def target_of(sockets: Iterable[ListeningSocket], port: int) -> Target | None:
    """Return where a connection to a port of the loopback goes; None when nothing listens there.

    The most specific address wins, as in the kernel: a socket on 127.0.0.1 takes what one on every address would. So
    the agent cannot make a port of the runner its own by listening on the same number at another address.
    """
    there = [each for each in sockets if each.port == port]
    for addresses, hosts in (
        (_V4_LOOPBACK, ("127.0.0.1",)),
        (_V4_ANY, ("127.0.0.1",)),
        (frozenset({_V6_LOOPBACK}), ("::1",)),
        (frozenset({_V6_ANY}), ("::1", "127.0.0.1")),
    ):
        found = tuple(each for each in there if each.address in addresses)
        if found:
            return Target(hosts, found)
    return None


def are_agents(sockets: Iterable[ListeningSocket], *, has_own_user: bool) -> bool:
    """Return whether all these sockets belong to the agent.

    In a container the agent has a user of its own. Without one (local sessions), a socket is the agent's when a
    process that descends from the runner holds it, and the runner does not.
    """
    if has_own_user:
        uid = agent_uid()
        return uid is not None and uid != os.getuid() and all(each.uid == uid for each in sockets)
    inodes = {each.inode for each in sockets}
    holders = socket_holders(inodes, [os.getpid(), *processes.descendants(os.getpid())])
    return set(holders) == inodes and os.getpid() not in holders.values()


def socket_holders(inodes: Iterable[int], pids: Iterable[int]) -> dict[int, int]:
    """Return for each socket the first of these processes that holds it. Skips what this user may not read."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, int] = {}
    for pid in pids:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - names are all that is needed
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                inode = wanted.get(os.readlink(f"/proc/{pid}/fd/{descriptor}"))  # noqa: PTH115 - as above
            except OSError:
                continue
            if inode is not None:
                found.setdefault(inode, pid)
    return found
