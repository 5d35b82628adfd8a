"""Fixtures of every tier."""

import pytest

pytest.register_assert_rewrite("tests.contract", "tests.support")

pytest_plugins = ["tests.support.servers", "tests.support.stack_fixtures"]
