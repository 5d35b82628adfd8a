"""The metrics of one manager, behind Caddy."""

import pytest

from tests.integration.edge.conftest import Stand
from tests.integration.edge.world import Peer, answer, calling, serving

pytestmark = pytest.mark.integration


async def test_each_manager_has_metrics_of_its_own(stand: Stand) -> None:
    first, third = Peer("0"), Peer("2")
    managers = [serving(peer, stand.paths.manager_socket(int(peer.name))) for peer in (first, third)]
    async with managers[0], managers[1], calling() as client:
        for name in ("0", "2") * 3:
            async with client.get(f"{stand.url}/metrics/{name}") as response:
                assert await answer(response) == {"name": name, "path": "/metrics", "session": None}
        async with client.get(f"{stand.url}/metrics/1") as response:
            assert (response.status, (await answer(response))["code"]) == (503, "dependency_away")
        async with client.get(f"{stand.url}/metrics/0?x=1") as response:
            assert response.status == 200
        assert first.paths[-1] == "/metrics?x=1"
