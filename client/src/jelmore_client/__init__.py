"""Jelmore's Python client: `Jelmore` and `AsyncJelmore`.

from jelmore_client import Jelmore

with Jelmore() as jelmore, jelmore.sessions.create() as session:
    print(session.ask("say hello").text)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore, AsyncSession, AsyncSessions
    from jelmore_client._async_port import AsyncPortConnection
    from jelmore_client._async_terminal import AsyncTerminal
    from jelmore_client._sync import Jelmore, Session, Sessions
    from jelmore_client._sync_port import PortConnection
    from jelmore_client._sync_terminal import Terminal
    from jelmore_client.core.terminals import TerminalOutput
    from jelmore_client.errors import (
        ApiError,
        CapacityError,
        CertificateError,
        ConflictError,
        ConnectionFailedError,
        ForbiddenError,
        InvalidRequestError,
        JelmoreError,
        NeedsAnswerError,
        NotFoundError,
        ProtocolError,
        ServerError,
        SessionEndedError,
        StreamGapError,
        UnauthenticatedError,
    )
    from jelmore_client.models import (
        Accepted,
        Answer,
        ChangedFile,
        Commit,
        Diff,
        Event,
        FileEntry,
        Message,
        Pending,
        Port,
        PortLink,
        Pushed,
        Repository,
        SessionInfo,
        StartedFrom,
        TurnResult,
    )

__all__ = [
    "Accepted",
    "Answer",
    "ApiError",
    "AsyncJelmore",
    "AsyncPortConnection",
    "AsyncSession",
    "AsyncSessions",
    "AsyncTerminal",
    "CapacityError",
    "CertificateError",
    "ChangedFile",
    "Commit",
    "ConflictError",
    "ConnectionFailedError",
    "Diff",
    "Event",
    "FileEntry",
    "ForbiddenError",
    "InvalidRequestError",
    "Jelmore",
    "JelmoreError",
    "Message",
    "NeedsAnswerError",
    "NotFoundError",
    "Pending",
    "Port",
    "PortConnection",
    "PortLink",
    "ProtocolError",
    "Pushed",
    "Repository",
    "ServerError",
    "Session",
    "SessionEndedError",
    "SessionInfo",
    "Sessions",
    "StartedFrom",
    "StreamGapError",
    "Terminal",
    "TerminalOutput",
    "TurnResult",
    "UnauthenticatedError",
]

_MODULES = (
    "errors",
    "models",
    "_sync",
    "core.terminals",
    "_sync_terminal",
    "_sync_port",
    "_async",
    "_async_terminal",
    "_async_port",
)
"""The asynchronous half is last: it loads asyncio, which a synchronous program and the command do not need."""


def __getattr__(name: str) -> Any:
    """Import what is used first: `jelmore --help` needs neither the HTTP library nor the models."""
    if name in __all__:
        for module in _MODULES:
            found = getattr(import_module(f"jelmore_client.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
