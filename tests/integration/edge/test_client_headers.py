"""What a manager learns of a client from a real Caddy: the name it asked, and an address that it did not choose."""

from uuid import uuid4

import pytest

from jelmore.ports import Address
from jelmore.session.world import Route
from tests.integration.edge.conftest import Stand
from tests.integration.edge.world import Peer, calling, serving

pytestmark = pytest.mark.integration

FORGED = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "localhost"}


async def test_the_host_arrives_as_it_was_sent_and_the_address_as_caddy_saw_it(stand: Stand) -> None:
    session_id = uuid4()
    await stand.edge.publish(session_id, Address(f"unix:{stand.paths.manager_socket(0)}"), route=Route.MANAGER)
    sleeping = f"/s/{session_id}/ws"
    peer = Peer("0")
    async with serving(peer, stand.paths.manager_socket(0)), calling() as client:
        for host in ("evil.example:8080", "127.0.0.1"):
            for headers in ({"Host": host}, {"Host": host, **FORGED}):
                async with client.get(stand.url + "/api/v1/me", headers=headers) as response:
                    assert response.status == 200
                async with client.post(stand.url + "/api/v1/login", headers=headers) as response:
                    assert response.status == 200
                async with client.ws_connect(stand.url + sleeping, headers=headers) as websocket:
                    await websocket.send_str("hi")
                    assert await websocket.receive_str(timeout=10) == "0:hi"
        assert {seen["Host"] for seen in peer.seen} == {"evil.example:8080", "127.0.0.1"}
        assert {tuple(seen.getall("X-Forwarded-For")) for seen in peer.seen} == {("127.0.0.1",)}
    assert len(peer.seen) == 12
