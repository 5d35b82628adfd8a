"""The way out of a session: a token goes in, the real credential goes on, and never the other way round."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import aiohttp.web
import pytest
from multidict import CIMultiDict
from yarl import URL

from jelmore.control.access import ModelCredential
from jelmore.drivers.caddy_config import caddy_config
from jelmore.drivers.caddy_edge import CaddyEdge
from tests.integration.edge.conftest import Stand
from tests.integration.edge.world import Peer, answer, calling, serving

pytestmark = pytest.mark.integration

TOKEN = {"Authorization": "Bearer good"}


@dataclass
class Out:
    stand: Stand
    manager: Peer
    model: Peer
    client: aiohttp.ClientSession

    def post(self, path: str = "/v1/messages", **headers: str) -> "aiohttp.client._RequestContextManager":
        return self.client.post(URL("http://gateway" + path, encoded=True), data=b"{}", headers={**TOKEN, **headers})


@pytest.fixture
async def out(stand: Stand) -> AsyncIterator[Out]:
    manager, model = Peer("manager"), Peer("model")
    async with (
        serving(manager, stand.paths.manager_socket(2)),
        serving(model, stand.paths.run_dir / "model.sock"),
        calling(stand.paths.gateway_socket) as client,
    ):
        yield Out(stand, manager, model, client)


async def test_the_credential_takes_the_place_of_the_token(out: Out) -> None:
    async with out.post("/v1/messages?beta=true", **{"anthropic-beta": "a,b", "anthropic-version": "v"}) as response:
        assert response.status == 200
    told = out.model.seen[-1]
    assert out.model.paths[-1] == "/v1/messages?beta=true"
    assert told["X-Api-Key"] == "real-key"
    assert "Authorization" not in told
    assert (told["anthropic-beta"], told["anthropic-version"]) == ("a,b", "v")
    asked = out.manager.seen[-1]
    assert (asked["X-Forwarded-Method"], asked["X-Forwarded-Uri"]) == ("POST", "/v1/messages?beta=true")


RUNNER_SENDS = {
    "Authorization": "Bearer good",
    "X-Api-Key": "forged",
    "Cookie": "a=b",
    "Proxy-Authorization": "Basic forged",
    "X-Forwarded-Uri": "/forged",
    "Anthropic-Version": "2023-06-01",
    "X-Claude-Code-Session-Id": "of-claude",
    "X-App": "cli",
}


@pytest.mark.parametrize(
    ("credential", "beta", "arrives"),
    [
        (ModelCredential(api_key="real"), "a,b", {"X-Api-Key": "real", "Anthropic-Beta": "a,b"}),
        (ModelCredential(api_key="real"), None, {"X-Api-Key": "real"}),
        (ModelCredential(auth_token="real"), "a,b", {"Authorization": "Bearer real", "Anthropic-Beta": "a,b"}),
        (ModelCredential(auth_token="real"), None, {"Authorization": "Bearer real"}),
        (
            ModelCredential(oauth_token="real"),
            "a,b",
            {"Authorization": "Bearer real", "Anthropic-Beta": "a,b,oauth-2025-04-20"},
        ),
        (
            ModelCredential(oauth_token="real"),
            "a,oauth-2025-04-20,b",
            {"Authorization": "Bearer real", "Anthropic-Beta": "a,oauth-2025-04-20,b"},
        ),
        (
            ModelCredential(oauth_token="real"),
            None,
            {"Authorization": "Bearer real", "Anthropic-Beta": "oauth-2025-04-20"},
        ),
    ],
)
async def test_every_header_that_arrives_at_the_model(
    out: Out, credential: ModelCredential, beta: str | None, arrives: dict[str, str]
) -> None:
    out.manager.credential = credential
    betas = {} if beta is None else {"Anthropic-Beta": beta}
    async with out.post(**RUNNER_SENDS, **betas) as response:
        assert response.status == 200
    of_the_hop = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
    of_the_hop |= {"via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
    told = {name.title(): value for name, value in out.model.seen[-1].items() if name.lower() not in of_the_hop}
    kept = {name: RUNNER_SENDS[name] for name in ("Anthropic-Version", "X-Claude-Code-Session-Id", "X-App")}
    assert told == kept | arrives


async def test_betas_of_several_header_lines_are_one_list(out: Out) -> None:
    out.manager.credential = ModelCredential(oauth_token="real")
    lines = CIMultiDict([*TOKEN.items(), ("Anthropic-Beta", "a"), ("Anthropic-Beta", "b")])
    async with out.client.post("http://gateway/v1/messages", data=b"{}", headers=lines) as response:
        assert response.status == 200
    assert out.model.seen[-1].getall("Anthropic-Beta") == ["a,b,oauth-2025-04-20"]


async def test_a_plan_token_goes_as_a_bearer_and_a_forged_key_goes_nowhere(out: Out) -> None:
    out.manager.credential = ModelCredential(auth_token="plan")
    async with out.post(**{"X-Api-Key": "forged", "Cookie": "a=b"}) as response:
        assert response.status == 200
    told = out.model.seen[-1]
    assert told["Authorization"] == "Bearer plan"
    assert "X-Api-Key" not in told
    assert "Cookie" not in told


async def test_a_forged_key_beside_a_real_one_is_replaced(out: Out) -> None:
    async with out.post(**{"X-Api-Key": "forged"}) as response:
        assert response.status == 200
    assert out.model.seen[-1]["X-Api-Key"] == "real-key"


async def test_what_the_manager_refuses_never_reaches_the_model(out: Out) -> None:
    async with out.post(Authorization="Bearer bad") as response:
        assert response.status == 401
        assert (await answer(response))["type"] == "error"
    assert out.model.paths == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/organizations",
        "/",
        "/v1/messages/batches",
        "/v1/messages/%2e%2e/organizations",
        "/internal/gateway",
        "/V1/messages",
    ],
)
async def test_only_the_messages_api_is_reachable(out: Out, path: str) -> None:
    async with out.post(path) as response:
        assert response.status == 403
        assert (await answer(response))["type"] == "error"
    assert out.model.paths == []
    assert out.manager.paths == []


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1/models", "//v1/messages", "/v1/x/../messages"])
async def test_what_is_allowed_arrives_under_its_plain_name(out: Out, path: str) -> None:
    async with out.post(path) as response:
        assert response.status == 200
    assert out.model.paths[-1] in {"/v1/messages", "/v1/messages/count_tokens", "/v1/models"}


async def test_away_is_told_as_the_messages_api_would(stand: Stand) -> None:
    async def refused(client: aiohttp.ClientSession) -> None:
        async with client.post("http://gateway/v1/messages", data=b"{}", headers=TOKEN) as response:
            assert response.status == 503
            assert "Retry-After" not in response.headers  # Claude Code's own pauses grow, and so span minutes
            told = await answer(response)
        assert told["type"] == "error"
        assert isinstance(told["error"], dict)
        assert told["error"]["type"] == "api_error"  # it gives up after three overloaded ones

    async with calling(stand.paths.gateway_socket) as client:
        await refused(client)  # no manager
        async with serving(Peer("manager"), stand.paths.manager_socket(0)):
            await refused(client)  # no model


async def test_an_answer_streams(out: Out) -> None:
    async with out.client.get("http://gateway/v1/models", headers=TOKEN) as response:
        assert response.status == 200
    stand = out.stand
    # The model of this test streams under a path that the gateway reaches only with a prefix in the base URL.
    streaming = replace(stand.options, model_url=f"unix:{stand.paths.run_dir}/stream.sock")
    await CaddyEdge(streaming, admin_socket=stand.caddy.admin).program()
    model = _Streamer("model")
    async with serving(model, Path(f"{stand.paths.run_dir}/stream.sock")), out.post() as response:
        assert await asyncio.wait_for(response.content.readline(), 10) == b"data: first\n"
        model.go_on.set()
        assert b"second" in await asyncio.wait_for(response.content.read(), 10)


class _Streamer(Peer):
    """A model API whose every answer streams."""

    async def other(self, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        return await self._stream(request)


async def test_a_base_url_may_have_a_port_and_a_path(out: Out) -> None:
    stand = out.stand
    runner = aiohttp.web.AppRunner(out.model.app())
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    other = replace(stand.options, model_url=f"http://{host}:{port}/team/model/")
    try:
        await CaddyEdge(other, admin_socket=stand.caddy.admin).program()
        async with out.post("/v1/messages?beta=true") as response:
            assert response.status == 200
        assert out.model.paths[-1] == "/team/model/v1/messages?beta=true"
        assert out.model.seen[-1]["Host"] == f"{host}:{port}"
        assert "X-Forwarded-For" not in out.model.seen[-1]
    finally:
        await runner.cleanup()


async def test_no_credential_is_ever_in_the_log_or_the_configuration(out: Out) -> None:
    loud = {"admin": {"listen": out.stand.caddy.admin_listen}, **caddy_config(out.stand.options)}
    loud["logging"]["logs"]["default"]["level"] = "DEBUG"
    async with (
        calling(out.stand.caddy.admin) as admin,
        admin.post("http://localhost/config/", json=loud) as response,
    ):
        assert response.status == 200
    async with out.post(**{"X-Api-Key": "forged-secret"}) as response:
        assert response.status == 200
    log = out.stand.caddy.log_path.read_text(encoding="utf-8")
    assert "upstream roundtrip" in log  # calls are told at this level
    for secret in ("forged-secret", "real-key", "Bearer good", "good"):
        assert secret not in log
        assert secret not in str(caddy_config(out.stand.options))
