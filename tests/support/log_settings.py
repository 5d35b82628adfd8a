"""The logging of tests: other settings for a while, and then those of every tier again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def kept_settings() -> Iterator[None]:
    """Restore structlog's settings afterwards. Its own defaults would render every local value of a traceback.

    That holds the event loop for up to a minute, and the tests that follow time out.
    """
    before = structlog.get_config()
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing meanwhile."""
    with kept_settings():
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        yield
