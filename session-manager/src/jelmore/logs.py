"""Structured logs: one JSON object per line, or text for a terminal. Secrets are removed from every line."""

import logging
import re
import sys
from typing import Any, Final

import structlog

_SECRET: Final = re.compile(
    r"jl[mpit]_[A-Za-z0-9_-]{8,}|sk-[A-Za-z0-9_-]{8,}|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+|(?<=://)[^/@\s:]*:[^/@\s]+(?=@)"
)
_HIDDEN: Final = "[redacted]"


def redact(value: Any) -> Any:
    """Return `value` without API keys, model keys, tokens and passwords in URLs. Lists and mappings are copied."""
    if isinstance(value, str):
        return _SECRET.sub(_HIDDEN, value)
    if isinstance(value, dict):
        return {key: redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


def _redacted(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    return {key: redact(value) for key, value in event.items()}


def configure(level: str, form: str) -> None:
    """Send all logs of the process, including the libraries', to standard error in one format. Call once."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        _redacted,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: Any = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)


def set_level(level: str) -> None:
    """Set the least severe level that is logged. May be called at any time."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for noisy in ("uvicorn.access", "websockets", "aiohttp.access", "nats", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
