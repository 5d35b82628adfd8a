"""Logs as one JSON object per line. Nothing logs a header, a body, a query or a credential."""

import logging
import sys
from typing import Final

import structlog
from aiohttp.http import HttpProcessingError

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def _without_request(record: logging.LogRecord) -> bool:
    """Leave out why a request cannot be parsed: that text repeats a part of it, which may hold a credential."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.exc_info = None
        record.msg, record.args = "%s: a request that is no HTTP, or too large", (type(error).__name__,)
    return True


def configure(level: str) -> None:
    """Send the log lines of at least that level to standard output. May run twice."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    logging.getLogger("aiohttp.server").addFilter(_without_request)
    logging.basicConfig(level=logging.WARNING, format='{"level": "%(levelname)s", "event": "%(message)s"}')
