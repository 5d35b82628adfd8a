"""Marks of the whole system's tests. Their fixtures are in `tests/support/stack_fixtures.py`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from jelmore.drivers.docker_options import DEFAULT_RUNTIME
from tests.support.browsing import launched
from tests.support.engine_relay import OCI_RUNTIME
from tests.support.stack_fixtures import BUILD_S

_HERE = Path(__file__).parent
_PATIENCE_S = 240


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here, and give those that build images the time for it."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.docker)
            builds = "compose" in getattr(item, "fixturenames", ()) or "[compose" in item.name
            item.add_marker(pytest.mark.timeout(BUILD_S if builds else _PATIENCE_S))
    if OCI_RUNTIME != DEFAULT_RUNTIME:  # `scripts/test-gvisor`: sessions that are processes say nothing about it
        items[:] = [item for item in items if "local_quickstart" not in getattr(item, "fixturenames", ())]


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    """A browser for the dashboard."""
    async with launched() as found:
        yield found
