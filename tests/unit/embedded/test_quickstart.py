"""The quick start says where it is only when it can be reached there."""

import socket

import pytest

from jelmore.embedded.quickstart import QuickStartError, reachable


async def test_a_listening_address_is_reachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        await reachable(f"127.0.0.1:{server.getsockname()[1]}", within_s=10)


async def test_an_address_that_nobody_listens_on_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never listening: nobody else can begin to listen there
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(QuickStartError, match=f"JELMORE_HTTP_LISTEN: nothing accepts connections on {listen}"):
            await reachable(listen, within_s=0.2)
