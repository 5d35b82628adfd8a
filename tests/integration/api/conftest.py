"""A running world for each test."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.api.world import World, world


@pytest_asyncio.fixture
async def api() -> AsyncIterator[World]:
    """The API over the real control plane."""
    async with world() as made:
        yield made
