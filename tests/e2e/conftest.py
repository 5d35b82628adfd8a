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
_ELSEWHERE = {"local_quickstart", "tcp", "compose"}
"""Fixtures whose sessions are processes, or whose services need an engine with a network."""

_NOT_IN_GVISOR = {
    "test_a_person_works_in_a_shell_leaves_and_comes_back": "gVisor's terminals send no signal for Ctrl-C",
    "test_a_full_screen_program_in_a_shell": "gVisor's terminals send no signal for Ctrl-C",
    "test_claude_code_calls_a_registered_mcp_server": "its processes are not this machine's, where the test looks",
    "test_doctor_and_login": "the command asks this machine's own engine",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here, and give those that build images the time for it."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.docker)
            builds = "compose" in getattr(item, "fixturenames", ()) or "[compose" in item.name
            item.add_marker(pytest.mark.timeout(BUILD_S if builds else _PATIENCE_S))
    if OCI_RUNTIME != DEFAULT_RUNTIME:  # `scripts/test-gvisor`: sessions that are processes say nothing about it
        items[:] = [item for item in items if not _ELSEWHERE & set(getattr(item, "fixturenames", ()))]
        for item in items:
            if why := _NOT_IN_GVISOR.get(item.name.partition("[")[0]):
                item.add_marker(pytest.mark.skip(reason=why))


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    """A browser for the dashboard."""
    async with launched() as found:
        yield found
