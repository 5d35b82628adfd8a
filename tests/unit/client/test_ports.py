"""What `jelmore port` reads, and what a closed connection to a port means."""

import pytest

from jelmore_client import ConnectionFailedError, ForbiddenError, UnauthenticatedError
from jelmore_client.cli.forward import local_url
from jelmore_client.cli.ports import row
from jelmore_client.core.ports import closed_error, port_pair
from jelmore_client.models import Port


@pytest.mark.parametrize(("text", "pair"), [("3000", (3000, 3000)), ("3000:8081", (3000, 8081))])
def test_a_port_and_a_local_one(text: str, pair: tuple[int, int]) -> None:
    assert port_pair(text) == pair


@pytest.mark.parametrize("text", ["", "0", "65536", "x", "-1", "3000:", ":3000", "1:2:3", "\u0663", "3000:0", " 3000"])
def test_what_is_no_port_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no port: write PORT or PORT:LOCAL"):
        port_pair(text)


def test_only_an_orderly_end_is_no_error() -> None:
    assert closed_error(1000, "") is None
    assert isinstance(closed_error(1001, "gone"), ConnectionFailedError)
    assert isinstance(closed_error(4401, "the key was revoked"), UnauthenticatedError)
    assert isinstance(closed_error(4403, ""), ForbiddenError)


def test_each_forwarded_port_has_a_name_with_cookies_of_its_own() -> None:
    session_id = "01a21dec-d2b6-714d-9272-64d0d33d23f8"
    assert local_url(session_id, 3000, 8081) == "http://3000--d33d23f8.localhost:8081"


def test_a_command_line_of_the_agent_does_not_steer_the_terminal() -> None:
    found = Port(port=3000, command="node\x1b[2J\r\nx.js \x9b31m\u202e\t-p\n   22  1 s  sshd\x00", since=None)
    assert row(found) == " 3000         -  node[2J x.js 31m -p 22 1 s sshd"
