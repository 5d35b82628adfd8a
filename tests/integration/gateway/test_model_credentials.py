"""Which credential goes with a session's calls of the model: its own, its user's, or the deployment's."""

import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from jelmore_gateway.vault import Vault
from jelmore_protocol.gateway import CredentialKey, GatewayConfig, Scope, SealedCredential
from tests.integration.gateway.world import World

pytestmark = pytest.mark.integration
KEY, BEARER, PLAN = "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"
ANN, BOB = "0198b2f0-0000-7000-8000-00000000000a", "0198b2f0-0000-7000-8000-00000000000b"

type Set = tuple[Scope, str, str, str]


async def configure(world: World, *given: Set, vault: Vault | None = None) -> None:
    """Let these be the credentials: scope, owner, name and value of each."""
    sealed = []
    for scope, owner, name, value in given:
        whose = CredentialKey(scope=scope, owner=owner, name=name)
        text, key_id = (vault or world.gateway.vault).seal(whose, value)
        sealed.append(SealedCredential(**whose.model_dump(), sealed=text, key_id=key_id))
    await world.gateway.configure(GatewayConfig(digest=secrets.token_hex(8), credentials=sealed))


async def arrived(world: World, socket: Path) -> dict[str, str]:
    """Call the model, and return the headers that say who pays."""
    async with world.post(socket, headers={"anthropic-beta": "a", "x-api-key": "forged"}) as response:
        assert response.status == 200, await response.text()
    seen = {name.lower(): value for name, value in world.model.seen[-1].items()}
    return {name: seen[name] for name in ("x-api-key", "authorization", "anthropic-beta") if name in seen}


async def test_a_session_uses_its_own_credential_else_its_users_else_the_deployments(world: World) -> None:
    ann = await world.register(ANN, user_id="ann")
    bob = await world.register(BOB, user_id="bob")
    nobody = await world.register()
    users: Set = (Scope.USER, "ann", KEY, "key-of-ann")
    await configure(world, users)
    assert await arrived(world, ann) == {"x-api-key": "key-of-ann", "anthropic-beta": "a"}
    for other in (bob, nobody):
        assert await arrived(world, other) == {"x-api-key": "real-key", "anthropic-beta": "a"}
    await configure(world, users, (Scope.SESSION, ANN, BEARER, "token-of-the-session"))
    assert await arrived(world, ann) == {"authorization": "Bearer token-of-the-session", "anthropic-beta": "a"}
    await configure(world, users, (Scope.DEPLOYMENT, "", KEY, "stored"))
    assert (await arrived(world, ann))["x-api-key"] == "key-of-ann"
    assert (await arrived(world, nobody))["x-api-key"] == "stored"
    await configure(world)
    assert (await arrived(world, ann))["x-api-key"] == "real-key"


async def test_a_plan_token_has_its_header_and_an_api_key_comes_before_it(world: World) -> None:
    ann = await world.register(ANN, user_id="ann")
    plan: Set = (Scope.USER, "ann", PLAN, "plan-of-ann")
    await configure(world, plan)
    assert await arrived(world, ann) == {
        "authorization": "Bearer plan-of-ann",
        "anthropic-beta": "a,oauth-2025-04-20",
    }
    await configure(world, plan, (Scope.USER, "ann", KEY, "key-of-ann"))
    assert await arrived(world, ann) == {"x-api-key": "key-of-ann", "anthropic-beta": "a"}


async def test_a_credential_is_replaced_while_the_session_runs_and_survives_a_restart_encrypted(
    world: World, folder: Path
) -> None:
    ann = await world.register(ANN, user_id="ann")
    for value in ("first-of-ann", "second-of-ann"):
        await configure(world, (Scope.USER, "ann", KEY, value))
        assert (await arrived(world, ann))["x-api-key"] == value
    await world.restart()
    assert (await arrived(world, ann))["x-api-key"] == "second-of-ann"
    kept = [each.read_bytes() for each in folder.rglob("*") if each.is_file()]
    assert kept
    assert not [each for each in kept if b"of-ann" in each]


async def test_one_that_cannot_be_opened_is_not_paid_by_somebody_else(world: World) -> None:
    ann = await world.register(ANN, user_id="ann")
    await configure(world, (Scope.USER, "ann", KEY, "key-of-ann"), vault=Vault(lambda: [b"x" * 32]))
    before = len(world.model.seen)
    async with world.post(ann) as response:
        assert response.status == 503
        assert "cannot be opened" in await response.text()
    assert len(world.model.seen) == before


async def test_a_credential_moved_to_another_user_does_not_open(world: World) -> None:
    bob = await world.register(BOB, user_id="bob")
    await configure(world, (Scope.USER, "ann", KEY, "key-of-ann"))
    (of_ann,) = world.gateway.config.credentials
    moved = of_ann.model_copy(update={"owner": "bob"})
    await world.gateway.configure(GatewayConfig(digest="moved", credentials=[moved]))
    async with world.post(bob) as response:
        assert response.status == 503


async def test_a_deployment_without_a_credential_of_its_own_serves_users_who_have_one(world: World) -> None:
    world.settings = replace(world.settings, credential=type(world.settings.credential)())
    await world.restart()
    ann, nobody = await world.register(ANN, user_id="ann"), await world.register()
    await configure(world, (Scope.USER, "ann", KEY, "key-of-ann"))
    assert (await arrived(world, ann))["x-api-key"] == "key-of-ann"
    assert await arrived(world, nobody) == {"anthropic-beta": "a"}


async def test_the_check_of_the_model_sends_the_stored_credential_of_the_deployment(world: World) -> None:
    await configure(world, (Scope.DEPLOYMENT, "", KEY, "stored"), (Scope.USER, "ann", BEARER, "token-of-ann"))
    found = await world.gateway.model_checks.check()
    assert found.credential
    seen = {name.lower(): value for name, value in world.model.seen[-1].items()}
    assert seen["x-api-key"] == "stored"
    await configure(world, (Scope.DEPLOYMENT, "", KEY, "stored"), vault=Vault(lambda: [b"x" * 32]))
    await world.restart()
    found = await world.gateway.model_checks.check()
    assert (found.accepted, found.problem) == (None, "the model credential of the deployment cannot be opened")
