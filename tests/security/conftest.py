"""Marks of the tests that attack a running system. Their fixtures are in `tests/support/stack_fixtures.py`."""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_PATIENCE_S = 240


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.timeout(_PATIENCE_S))
