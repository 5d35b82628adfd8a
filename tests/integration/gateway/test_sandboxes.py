"""Who may use the gateway: a sandbox on its own socket, or one with a token; until it is withdrawn or revoked."""

import asyncio
import stat
import time

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization

from jelmore.control.access import new_signing_key
from jelmore_protocol.gateway import MODEL_SOCKET, GatewayConfig, sandbox_key
from jelmore_protocol.tokens import Audience, Claims, sign
from tests.integration.gateway.world import OTHER, SESSION, World, script

pytestmark = pytest.mark.integration


def public_pem(private_pem: str) -> str:
    public = serialization.load_pem_private_key(private_pem.encode(), password=None).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


async def test_each_sandbox_has_sockets_of_its_own(world: World) -> None:
    one, other = await world.register(), await world.register(OTHER)
    assert one.parent != other.parent
    assert stat.S_IMODE(one.stat().st_mode) == 0o666
    assert stat.S_IMODE(one.parent.stat().st_mode) == 0o755
    async with world.post(one) as response:
        assert response.status == 200


async def test_registering_again_keeps_the_folder_and_open_streams(world: World) -> None:
    socket = await world.register()
    folder = socket.parent.stat().st_ino
    async with world.post(socket, headers=script("stream")) as response:
        await response.content.readline()
        assert await world.register() == socket
        world.model.go_on.set()
        assert b"message_stop" in await response.content.read()
    assert socket.parent.stat().st_ino == folder


async def test_a_withdrawn_sandbox_is_cut_and_gone(world: World) -> None:
    socket, other = await world.register(), await world.register(OTHER)
    async with world.post(socket, headers=script("stream")) as response:
        await response.content.readline()
        await world.gateway.withdraw(socket.parent.name)
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()
    await asyncio.wait_for(world.model.left.wait(), 10)
    assert not socket.parent.exists()
    await world.gateway.withdraw(socket.parent.name)
    async with world.post(other) as response:
        assert response.status == 200


async def test_a_revocation_cuts_within_a_second_and_stays(world: World) -> None:
    socket, other = await world.register(), await world.register(OTHER)
    async with world.post(socket, headers=script("stream")) as stream:
        await stream.content.readline()
        began = time.monotonic()
        await world.gateway.revoke([socket.parent.name])
        with pytest.raises(aiohttp.ClientError):
            await stream.content.read()
        assert time.monotonic() - began < 1
    await world.register()  # a late call of a manager that does not know yet
    for _ in range(2):
        async with world.post(socket) as response:
            assert response.status == 403
        async with world.post(other) as response:
            assert response.status == 200
        await world.restart()


async def test_a_sandbox_whose_socket_cannot_be_made_again_is_revoked_like_the_others(world: World) -> None:
    broken, other = await world.register(), await world.register(OTHER)
    broken.unlink()
    broken.mkdir()
    with pytest.raises(OSError, match=MODEL_SOCKET):
        await world.register()
    await world.gateway.revoke([broken.parent.name, other.parent.name])
    assert all(entry.revoked for entry in world.gateway.entries())
    async with world.post(other) as response:
        assert response.status == 403


async def test_a_held_sandbox_has_sockets_that_refuse_everything_until_it_is_let_in(world: World) -> None:
    socket = await world.register(held=True)
    folder = socket.parent.stat().st_ino
    for _ in range(2):
        async with world.post(socket) as response:
            assert response.status == 403
            assert "no session has this sandbox yet" in await response.text()
        await world.restart()
    assert world.gateway.health().holds
    await world.register()
    await world.register(held=True)  # a late call of a manager that does not know of the claim yet
    async with world.post(socket) as response:
        assert response.status == 200
    assert socket.parent.stat().st_ino == folder, "the container is bound to it"


async def test_a_held_sandbox_has_no_way_out_by_a_token_either(world: World) -> None:
    private = new_signing_key()
    await world.gateway.configure(GatewayConfig(digest="1", token_public_key=public_pem(private)))
    await world.register(held=True)
    claims = Claims(SESSION, Audience.GATEWAY, frozenset(), "", int(time.time()) + 60, 1)
    headers = {"Authorization": f"Bearer {sign(claims, private)}"}
    async with world.post(world.settings.token_socket, headers=headers) as response:
        assert response.status == 403
    await world.register()
    async with world.post(world.settings.token_socket, headers=headers) as response:
        assert response.status == 200


async def test_registrations_survive_a_restart_in_the_same_folder(world: World) -> None:
    socket = await world.register(user_id="ann")
    folder = socket.parent.stat().st_ino
    await world.restart()
    assert socket.parent.stat().st_ino == folder  # containers are bound to it
    assert [entry.user_id for entry in world.gateway.entries()] == ["ann"]
    async with world.post(socket) as response:
        assert response.status == 200


async def test_a_folder_that_nothing_is_registered_for_is_removed_at_start(world: World) -> None:
    left = world.settings.folder / sandbox_key(SESSION, 9)
    left.mkdir()
    await world.restart()
    assert not left.exists()


async def test_a_token_says_who_calls_where_the_socket_does_not(world: World) -> None:
    private = new_signing_key()
    await world.register(generation=2)

    def token(generation: int = 2, audience: Audience = Audience.GATEWAY, life_s: int = 60, key: str = private) -> str:
        return sign(Claims(SESSION, audience, frozenset(), "", int(time.time()) + life_s, generation), key)

    async def status(text: str | None) -> int:
        headers = {} if text is None else {"Authorization": f"Bearer {text}"}
        async with world.post(world.settings.token_socket, headers=headers) as response:
            return int(response.status)

    assert await status(token()) == 503  # before the manager has sent its public key
    await world.gateway.configure(GatewayConfig(digest="1", token_public_key=public_pem(private)))
    assert await status(token()) == 200
    assert await status(None) == 401
    assert await status(token(life_s=-1)) == 401
    assert await status(token(key=new_signing_key())) == 401
    assert await status(token(audience=Audience.SESSION)) == 403
    assert await status(token(generation=1)) == 403
    assert "Bearer" not in world.model.seen[-1].get("Authorization", "")
    await world.restart()  # the public key is kept, so no manager is needed
    assert await status(token()) == 200
    await world.gateway.revoke([sandbox_key(SESSION, 2)])
    assert await status(token()) == 403


async def test_a_sandbox_cannot_have_more_than_its_streams(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jelmore_gateway.sandbox.MAX_STREAMS", 1)
    socket, other = await world.register(), await world.register(OTHER)
    async with world.post(socket, headers=script("stream")) as stream:
        await stream.content.readline()
        async with world.post(socket) as response:
            assert response.status == 503
        async with world.post(other) as response:
            assert response.status == 200
        world.model.go_on.set()
        await stream.content.read()
