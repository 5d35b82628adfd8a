"""The agents that members of the warm pool get ahead."""

import asyncio

import pytest

from jelmore.control.pool import ProfilePool
from tests.unit.control.test_pool import filled, opened, ready
from tests.unit.control.world import World


async def test_a_profile_that_cannot_be_used_costs_no_member(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(pool_size=2)
    manager = await opened(world)
    members = await filled(world, 2)
    monkeypatch.setattr(manager.pool, "_pools", lambda: [ProfilePool("default", 2, None)])
    await asyncio.sleep(60)
    assert "'default'" in manager.pool.report()["problem"]
    assert ready(world) == members
    await manager.kill()
