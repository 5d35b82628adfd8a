"""Jelmore's Python client: `Jelmore` and `AsyncJelmore`.

from jelmore_client import Jelmore

with Jelmore() as jelmore, jelmore.sessions.create() as session:
    print(session.ask("say hello").text)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore
    from jelmore_client._async_port import AsyncPortConnection
    from jelmore_client._async_sessions import AsyncSession, AsyncSessions
    from jelmore_client._async_terminal import AsyncTerminal
    from jelmore_client._sync import Jelmore
    from jelmore_client._sync_port import PortConnection
    from jelmore_client._sync_sessions import Session, Sessions
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
    from jelmore_client.event_models import Delivery, LoggedEvent, NewWebhook, PublishedEvent, Webhook
    from jelmore_client.models import (
        Accepted,
        Answer,
        ChangedFile,
        Command,
        Commit,
        Diff,
        Erasure,
        Event,
        FileEntry,
        Message,
        Pending,
        Port,
        PortLink,
        Pushed,
        QueueChange,
        QueuedInput,
        Repository,
        SessionInfo,
        SessionToken,
        StartedFrom,
        TurnResult,
    )
    from jelmore_client.observation_models import (
        Check,
        McpServer,
        Measurement,
        MeteredUsage,
        ResourceSeries,
        SessionHealth,
    )
    from jelmore_client.operator_models import (
        ApiKey,
        AuditEntry,
        Authorization,
        AuthorizationStart,
        AuthorizedRoute,
        Budget,
        CleanupReport,
        Credential,
        DrainState,
        LiveSetting,
        LiveSettings,
        Me,
        ModelCheck,
        NamedSum,
        NewApiKey,
        Profile,
        Profiles,
        Route,
        TokenSum,
        UsageReport,
    )
    from jelmore_client.people_models import (
        AcceptedInvite,
        Attendance,
        Attendee,
        Comment,
        InboxEntry,
        Invite,
        NewInvite,
        Participant,
        Ticket,
        Unread,
    )

__all__ = [
    "Accepted",
    "AcceptedInvite",
    "Answer",
    "ApiError",
    "ApiKey",
    "AsyncJelmore",
    "AsyncPortConnection",
    "AsyncSession",
    "AsyncSessions",
    "AsyncTerminal",
    "Attendance",
    "Attendee",
    "AuditEntry",
    "Authorization",
    "AuthorizationStart",
    "AuthorizedRoute",
    "Budget",
    "CapacityError",
    "CertificateError",
    "ChangedFile",
    "Check",
    "CleanupReport",
    "Command",
    "Comment",
    "Commit",
    "ConflictError",
    "ConnectionFailedError",
    "Credential",
    "Delivery",
    "Diff",
    "DrainState",
    "Erasure",
    "Event",
    "FileEntry",
    "ForbiddenError",
    "InboxEntry",
    "InvalidRequestError",
    "Invite",
    "Jelmore",
    "JelmoreError",
    "LiveSetting",
    "LiveSettings",
    "LoggedEvent",
    "McpServer",
    "Me",
    "Measurement",
    "Message",
    "MeteredUsage",
    "ModelCheck",
    "NamedSum",
    "NeedsAnswerError",
    "NewApiKey",
    "NewInvite",
    "NewWebhook",
    "NotFoundError",
    "Participant",
    "Pending",
    "Port",
    "PortConnection",
    "PortLink",
    "Profile",
    "Profiles",
    "ProtocolError",
    "PublishedEvent",
    "Pushed",
    "QueueChange",
    "QueuedInput",
    "Repository",
    "ResourceSeries",
    "Route",
    "ServerError",
    "Session",
    "SessionEndedError",
    "SessionHealth",
    "SessionInfo",
    "SessionToken",
    "Sessions",
    "StartedFrom",
    "StreamGapError",
    "Terminal",
    "TerminalOutput",
    "Ticket",
    "TokenSum",
    "TurnResult",
    "UnauthenticatedError",
    "Unread",
    "UsageReport",
    "Webhook",
]

_MODULES = (
    "errors",
    "models",
    "event_models",
    "observation_models",
    "operator_models",
    "people_models",
    "_sync",
    "_sync_sessions",
    "core.terminals",
    "_sync_terminal",
    "_sync_port",
    "_async",
    "_async_sessions",
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
