"""Every test in this folder runs in virtual time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio

from tests.unit.control.manager_harness import ManagerHarness
from tests.unit.control.virtual_time import VirtualLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual": VirtualLoop}


@pytest.fixture(autouse=True)
def monotonic_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let caches, which read the machine's monotonic clock, live in virtual time too."""
    real = time.monotonic

    def virtual() -> float:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return real()
        return loop.time()

    monkeypatch.setattr(time, "monotonic", virtual)


@pytest_asyncio.fixture
async def harness() -> AsyncIterator[ManagerHarness]:
    harness = ManagerHarness()
    await harness.manager.start()
    yield harness
    await harness.manager.kill()
