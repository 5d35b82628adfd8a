"""The agents that members of the warm pool get ahead."""

import asyncio

import pytest

from jelmore.session.errors import InvalidRequestError
from jelmore.session.record import Session
from tests.unit.control.test_pool import filled, opened, ready
from tests.unit.control.world import World


@pytest.mark.parametrize(
    "error", [InvalidRequestError("a default profile that cannot be used"), ValueError("as pydantic")]
)
async def test_agents_that_cannot_be_prepared_cost_no_member(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(pool_size=2)
    manager = await opened(world)
    members = await filled(world, 2)

    def plain() -> Session:
        raise error

    assert manager.pool is not None
    monkeypatch.setattr(manager.pool, "_plain", plain)
    await asyncio.sleep(60)
    assert ready(world) == members
    await manager.kill()
