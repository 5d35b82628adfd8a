"""The way to the model: the credential is added outside of the sandbox, and the response streams back as it comes."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import aiohttp
import aiohttp.web
import pytest
from multidict import CIMultiDict

from jelmore_gateway.credentials import ModelCredential
from jelmore_gateway.gateway import Gateway
from jelmore_gateway.model_check import verdict
from jelmore_gateway.state import State
from tests.integration.gateway.world import World, script

pytestmark = pytest.mark.integration


async def error_type(response: aiohttp.ClientResponse) -> str:
    error = json.loads(await response.text())
    assert error["type"] == "error"
    return str(error["error"]["type"])


async def test_the_credential_is_added_and_the_body_arrives(world: World) -> None:
    socket = await world.register()
    headers = {"anthropic-beta": "a,b", "anthropic-version": "v"}
    async with world.post(socket, "/v1/messages?beta=true", data=b'{"x": 1}', headers=headers) as response:
        assert response.status == 200
        assert (await response.json())["usage"]["output_tokens"] == 5
    assert world.model.paths == ["/v1/messages?beta=true"]
    assert world.model.bodies == [b'{"x": 1}']
    seen = world.model.seen[-1]
    assert seen["X-Api-Key"] == "real-key"
    assert (seen["anthropic-beta"], seen["anthropic-version"]) == ("a,b", "v")


SANDBOX_SENDS = {
    "Authorization": "Bearer forged",
    "X-Api-Key": "forged",
    "Cookie": "a=b",
    "Proxy-Authorization": "Basic forged",
    "X-Forwarded-For": "10.0.0.1",
    "X-Jelmore-Session": "forged",
    "Traceparent": "00-1-1-01",
    "Anthropic-Version": "2023-06-01",
    "X-Claude-Code-Session-Id": "of-claude",
    "X-Stainless-Lang": "js",
    "X-App": "cli",
    "User-Agent": "claude-cli/2",
}
KEPT = ("Anthropic-Version", "X-Claude-Code-Session-Id", "X-Stainless-Lang", "X-App", "User-Agent")


@pytest.mark.parametrize(
    ("credential", "beta", "arrives"),
    [
        (ModelCredential(), "a", {"Anthropic-Beta": "a"}),
        (ModelCredential(api_key="real"), "a,b", {"X-Api-Key": "real", "Anthropic-Beta": "a,b"}),
        (ModelCredential(api_key="real"), None, {"X-Api-Key": "real"}),
        (ModelCredential(auth_token="real"), "a,b", {"Authorization": "Bearer real", "Anthropic-Beta": "a,b"}),
        (
            ModelCredential(oauth_token="real"),
            "a,b",
            {"Authorization": "Bearer real", "Anthropic-Beta": "a,b,oauth-2025-04-20"},
        ),
        (
            ModelCredential(oauth_token="real"),
            None,
            {"Authorization": "Bearer real", "Anthropic-Beta": "oauth-2025-04-20"},
        ),
    ],
)
async def test_every_header_that_arrives_at_the_model(
    world: World, credential: ModelCredential, beta: str | None, arrives: dict[str, str]
) -> None:
    world.settings = replace(world.settings, credential=credential)
    await world.restart()
    socket = await world.register()
    betas = {} if beta is None else {"Anthropic-Beta": beta}
    async with world.post(socket, headers={**SANDBOX_SENDS, **betas}) as response:
        assert response.status == 200
    of_the_hop = {"Host", "Content-Length", "Content-Type", "Accept", "Accept-Encoding"}
    seen = {name.title(): value for name, value in world.model.seen[-1].items() if name.title() not in of_the_hop}
    assert seen == {name: SANDBOX_SENDS[name] for name in KEPT} | arrives


async def test_betas_of_several_header_lines_are_one_list(world: World) -> None:
    socket = await world.register()
    lines = CIMultiDict([("Anthropic-Beta", "a"), ("Anthropic-Beta", "b")])
    async with world.post(socket, headers=lines) as response:
        assert response.status == 200
    assert world.model.seen[-1].getall("Anthropic-Beta") == ["a,b"]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/models"])
async def test_the_messages_api_is_reachable(world: World, path: str) -> None:
    async with world.post(await world.register(), path) as response:
        assert response.status == 200
    assert world.model.paths == [path]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/organizations",
        "/v1/messages/batches",
        "/v1/messages/%2e%2e/organizations",
        "/v1/messages/../organizations",
        "//v1/messages",
        "/v1/x/../messages",
        "/V1/messages",
        "/v1/messages%20",
        "/health",
        "/sandboxes",
    ],
)
async def test_nothing_else_is(world: World, path: str) -> None:
    async with world.post(await world.register(), path) as response:
        assert response.status == 403
        assert await error_type(response) == "permission_error"
    assert world.model.paths == []


async def test_an_absolute_target_does_not_choose_the_server(world: World) -> None:
    reader, writer = await asyncio.open_unix_connection(await world.register())
    writer.write(b"GET http://elsewhere.invalid/v1/models HTTP/1.1\r\nHost: elsewhere.invalid\r\n\r\n")
    assert b" 403 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


async def test_a_response_streams_and_its_request_does(world: World) -> None:
    socket = await world.register()
    async with world.post(socket, headers=script("stream")) as response:
        assert await response.content.readline() == b"event: message_start\n"
        world.model.go_on.set()
        assert b"message_stop" in await response.content.read()


async def test_a_reader_that_stops_stops_the_model(world: World) -> None:
    async with world.post(await world.register(), headers=script("push")) as response:
        await response.content.read(1)
        before = -1
        while before != world.model.pushed:
            before = world.model.pushed
            await asyncio.sleep(0.3)
        assert world.model.pushed < 16 * 1024 * 1024
        total = 1
        async for piece in response.content.iter_any():
            total += len(piece)
    assert total == 64 * 1024 * 1024


async def test_a_sandbox_that_leaves_ends_the_models_work(world: World) -> None:
    async with world.post(await world.register(), headers=script("stream")) as response:
        await response.content.readline()
    await asyncio.wait_for(world.model.left.wait(), 10)


@pytest.mark.parametrize("name", ["drop", "hang"])
async def test_a_model_that_drops_or_hangs_is_reported_as_claude_code_retries_and_asked_once(
    world: World, name: str
) -> None:
    async with world.post(await world.register(), headers=script(name)) as response:
        assert response.status == 503
        assert "Retry-After" not in response.headers
        assert await error_type(response) == "api_error"
    assert len(world.model.paths) == 1


async def test_a_model_that_is_away_is_reported_likewise(world: World) -> None:
    world.settings = replace(world.settings, model_url=f"unix:{world.settings.state_dir}/nothing.sock")
    await world.restart()
    async with world.post(await world.register()) as response:
        assert response.status == 503
        assert await error_type(response) == "api_error"


async def test_a_response_that_breaks_off_is_marked_incomplete(world: World) -> None:
    async with world.post(await world.register(), headers=script("break")) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()


async def test_the_models_own_errors_pass_unchanged_but_for_cookies(world: World) -> None:
    async with world.post(await world.register(), headers=script("overloaded")) as response:
        assert response.status == 529
        assert response.headers["Retry-After"] == "7"
        assert "Set-Cookie" not in response.headers


async def test_a_body_above_the_bound_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jelmore_gateway.gateway.MAX_BODY_BYTES", 1000)
    socket = await world.register()

    async def undeclared() -> object:
        for _ in range(3):
            yield b"x" * 500

    for body in (b"x" * 1001, undeclared()):
        async with world.post(socket, data=body) as response:
            assert response.status == 413
            assert await error_type(response) == "request_too_large"


async def test_a_base_url_may_have_a_port_and_a_path(world: World) -> None:
    runner = aiohttp.web.AppRunner(world.model.app())
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        world.settings = replace(world.settings, model_url=f"http://{host}:{port}/bedrock/team%20a")
        await world.restart()
        async with world.post(await world.register(), "/v1/messages?beta=true") as response:
            assert response.status == 200
        assert world.model.paths == ["/bedrock/team%20a/v1/messages?beta=true"]
        assert world.model.seen[-1]["Host"] == f"{host}:{port}"
    finally:
        await runner.cleanup()


async def test_the_credential_is_in_no_file_and_no_log(
    world: World, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with world.post(await world.register(), headers={"X-Api-Key": "forged-secret"}) as response:
        assert response.status == 200
    async with world.post(await world.register(), "/v1/organizations") as response:
        assert response.status == 403
    said = capfd.readouterr()
    held = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    for secret in ("real-key", "forged-secret"):
        assert secret not in said.out + said.err
        assert not any(secret.encode() in each for each in held)
    assert "real-key" not in repr(world.settings)


async def test_a_second_gateway_on_the_same_state_sees_what_the_first_stored(world: World) -> None:
    await world.register()
    await world.gateway.close()
    second = State(world.settings.state_dir)
    world.state, world.gateway = second, Gateway(world.settings, second)
    await world.gateway.open()
    assert [entry.generation for entry in world.gateway.entries()] == [1]


async def test_a_check_of_the_credential_asks_the_model_api_once(world: World) -> None:
    found = await world.gateway.model_checks.check()
    assert (found.accepted, found.credential, found.status, found.problem) == (True, True, 200, "")
    assert world.model.paths == ["/v1/models?limit=1"]
    assert world.model.seen[-1]["X-Api-Key"] == "real-key"
    assert "real-key" not in found.model_dump_json()
    assert await world.gateway.model_checks.check() == found
    assert len(world.model.paths) == 1, "the answer is kept for some seconds"


async def test_a_model_api_that_is_away_is_named(world: World) -> None:
    world.settings = replace(world.settings, model_url="http://127.0.0.1:9", credential=ModelCredential())
    await world.restart()
    found = await world.gateway.model_checks.check()
    assert (found.accepted, found.credential, found.status, found.server) == (None, False, 0, "127.0.0.1:9")
    assert "cannot be reached" in found.problem


@pytest.mark.parametrize(
    ("status", "accepted"), [(200, True), (429, True), (401, False), (403, False), (404, None), (500, None)]
)
def test_what_an_answer_of_the_model_api_means(status: int, accepted: bool | None) -> None:
    assert verdict(status)[0] is accepted
    assert bool(verdict(status)[1]) is (accepted is not True)
