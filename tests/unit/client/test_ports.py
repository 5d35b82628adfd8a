"""What `jelmore port` reads, and what a closed connection to a port means."""

import pytest

from jelmore_client import ConnectionFailedError, ForbiddenError, UnauthenticatedError
from jelmore_client.core.ports import closed_error, port_pair


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
