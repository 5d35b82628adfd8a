"""Which socket takes a connection to a port of the loopback, from the kernel's tables."""

import os
import pwd

import pytest

from jelmore_runner.listening_sockets import ListeningSocket, are_agents, parsed, target_of

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0
   1: 0100007F:0BB8 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 100 0 0 10 0
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 10001        0 4713 1 0 100 0 0 10 0
"""
LOOPBACK, ANY, OTHER = "0100007F", "00000000", "0200007F"
V6, V6_ANY, MAPPED = "00000000000000000000000001000000", "0" * 32, "0000000000000000FFFF00000100007F"


def test_only_listening_sockets_are_read() -> None:
    assert list(parsed(TABLE)) == [
        ListeningSocket(LOOPBACK, 3000, 1000, 4711),
        ListeningSocket(ANY, 8080, 10001, 4713),
    ]


def sockets(*addresses: str) -> list[ListeningSocket]:
    return [ListeningSocket(address, 3000, number, number) for number, address in enumerate(addresses)]


@pytest.mark.parametrize(
    ("addresses", "hosts", "taker"),
    [
        ((LOOPBACK,), ("127.0.0.1",), 0),
        ((ANY,), ("127.0.0.1",), 0),
        ((V6,), ("::1",), 0),
        ((V6_ANY,), ("::1", "127.0.0.1"), 0),
        ((MAPPED,), ("127.0.0.1",), 0),
        ((OTHER, V6_ANY, LOOPBACK), ("127.0.0.1",), 2),
        ((V6_ANY, V6, ANY), ("127.0.0.1",), 2),
        ((V6_ANY, MAPPED), ("127.0.0.1",), 1),
    ],
)
def test_the_most_specific_address_takes_a_connection(
    addresses: tuple[str, ...], hosts: tuple[str, ...], taker: int
) -> None:
    found = target_of(sockets(*addresses), 3000)
    assert found is not None
    assert found.hosts == hosts
    assert [each.inode for each in found.sockets] == [taker]


def test_another_address_or_port_is_not_reached() -> None:
    assert target_of(sockets(OTHER), 3000) is None
    assert target_of(sockets(LOOPBACK), 3001) is None


class _Agent:
    pw_uid = 1000


def test_in_a_container_the_user_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _: _Agent)
    monkeypatch.setattr(os, "getuid", lambda: 10001)
    mine, runners, roots = (ListeningSocket(LOOPBACK, 3000, uid, 1) for uid in (1000, 10001, 0))
    assert are_agents([mine], has_own_user=True)
    assert not are_agents([runners], has_own_user=True)
    assert not are_agents([roots], has_own_user=True)
    assert not are_agents([mine, runners], has_own_user=True)


def test_without_a_user_of_the_agent_nothing_is_its(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: str) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwnam", unknown)
    assert not are_agents([ListeningSocket(LOOPBACK, 3000, 1000, 1)], has_own_user=True)
