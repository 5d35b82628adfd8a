"""The names of ports lead to a manager, with every path, and nowhere else."""

import asyncio
import ssl
from dataclasses import replace
from uuid import uuid4

import pytest

from jelmore.drivers.caddy_config import EdgeOptions
from jelmore.drivers.caddy_edge import CaddyEdge
from jelmore.embedded.caddy import Caddy
from tests.integration.edge.world import Peer, answer, calling, serving

pytestmark = pytest.mark.integration


async def test_every_path_of_a_port_goes_to_a_manager(options: EdgeOptions) -> None:
    named = replace(options, ports_host="ports.test")
    options.paths.prepare()
    caddy = Caddy(options.paths.run_dir.parent / "caddy", options.paths.run_dir / "caddy")
    url, name = f"http://{options.http_listen}", f"3000--{uuid4()}.ports.test"
    manager = Peer("0")
    async with caddy, serving(manager, options.paths.manager_socket(0)), calling() as client:
        assert await CaddyEdge(named, admin_socket=caddy.admin).program()
        for path in (f"/s/{uuid4()}/health", "/internal/x", "/s/x", "/a?b=1"):
            headers = {"Host": name, "X-Jelmore-Session": "forged"}
            async with client.get(f"{url}{path}", headers=headers) as response:
                assert (await answer(response))["name"] == "0"
            assert manager.paths[-1] == path
            assert manager.seen[-1]["Host"] == name
            assert "X-Jelmore-Session" not in manager.seen[-1]
            assert manager.seen[-1]["X-Forwarded-For"] == "127.0.0.1"
        for other in ("ports.test", f"x.{name}"):
            async with client.get(f"{url}/internal/x", headers={"Host": other}) as response:
                assert response.status == 404


async def test_caddys_own_authority_signs_the_names_of_ports(options: EdgeOptions) -> None:
    port = options.https_listen.rpartition(":")[2]
    secure = replace(options, public_url=f"https://localhost:{port}", ports_host="ports.test")
    options.paths.prepare()
    caddy = Caddy(options.paths.run_dir.parent / "caddy", options.paths.run_dir / "caddy")
    manager, name = Peer("0"), f"3000--{uuid4()}.ports.test"
    async with caddy, serving(manager, options.paths.manager_socket(0)), calling() as client:
        assert await CaddyEdge(secure, admin_socket=caddy.admin).program()
        root = caddy.folder / "data/caddy/pki/authorities/local/root.crt"
        async with asyncio.timeout(20):
            while not list(caddy.folder.glob("data/caddy/certificates/local/wildcard_*/*.json")) or not root.exists():
                await asyncio.sleep(0.05)
        context = ssl.create_default_context(cafile=str(root))
        async with client.get(
            f"https://127.0.0.1:{port}/x", ssl=context, server_hostname=name, headers={"Host": name}
        ) as response:
            assert (await answer(response))["name"] == "0"
        assert manager.seen[-1]["Host"] == name
        http = f"http://{options.http_listen}"
        async with client.get(f"{http}/a?b=c", headers={"Host": name}, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (308, f"https://{name}:{port}/a?b=c")
