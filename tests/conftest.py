"""Fixtures of every tier."""

import pytest
import structlog

# The default renderer of tracebacks shows every local value, and holds the event loop for seconds on a busy machine.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

pytest.register_assert_rewrite("tests.contract", "tests.support")

pytest_plugins = ["tests.support.servers", "tests.support.stack_fixtures"]
