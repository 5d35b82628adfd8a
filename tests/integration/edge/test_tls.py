"""TLS for the public address with Caddy's own authority: served under that name only, and http leads there."""

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from jelmore.drivers.caddy_config import EdgeOptions
from jelmore.drivers.caddy_edge import CaddyEdge
from jelmore.embedded.caddy import Caddy
from tests.integration.edge.world import Peer, answer, calling, serving

pytestmark = pytest.mark.integration


async def _there(path: Path) -> Path:
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.05)
    return path


async def test_https_is_served_and_http_leads_to_it(options: EdgeOptions) -> None:
    port = options.https_listen.rpartition(":")[2]
    secure = replace(options, public_url=f"https://localhost:{port}")
    options.paths.prepare()
    caddy = Caddy(options.paths.run_dir.parent / "caddy", options.paths.run_dir / "caddy")
    async with caddy, serving(Peer("0"), options.paths.manager_socket(0)), calling() as client:
        edge = CaddyEdge(secure, admin_socket=caddy.admin)
        assert await edge.program()
        assert not await edge.program()
        root = await _there(caddy.folder / "data/caddy/pki/authorities/local/root.crt")
        await _there(caddy.folder / "data/caddy/certificates/local/localhost/localhost.json")
        context = ssl.create_default_context(cafile=str(root))
        async with client.get(f"{secure.public_url}/livez", ssl=context) as response:
            assert (await answer(response))["name"] == "0"
        async with client.ws_connect(f"{secure.public_url}/x/ws", ssl=context) as websocket:
            await websocket.send_str("hi")
            assert await websocket.receive_str(timeout=10) == "0:hi"
        async with client.get(f"http://{options.http_listen}/a?b=c", allow_redirects=False) as response:
            assert response.status == 308
            assert response.headers["Location"] == f"{secure.public_url}/a?b=c"
