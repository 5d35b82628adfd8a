"""Interfaces to everything outside this process, one file per port. Read this package second, after `session/`.

Every method has its own deadline and raises only errors from `jelmore.session.errors`: `DependencyError` when the
dependency is unavailable (retry), `RefusedError` when it refuses permanently. Only `bootstrap/` names the
concrete classes.
"""

from jelmore.ports.clock import Clock
from jelmore.ports.disk_space import DiskSpace
from jelmore.ports.edge import Edge
from jelmore.ports.event_bus import EventBus
from jelmore.ports.gateway import Gateway
from jelmore.ports.gateway_store import CallEvent, GatewayStore, ModelUsage, RouteCall, StoredCredential
from jelmore.ports.keys import ApiKey, KeyRights, KeyStore, Role
from jelmore.ports.leases import Leases
from jelmore.ports.live_output import LiveLine, LiveOutput, StoredOutput, WatchList
from jelmore.ports.outbox import HeldOutbox, Outbox
from jelmore.ports.pool import Demand, HostMemory, PoolStore
from jelmore.ports.record_cache import Records
from jelmore.ports.repositories import FetchedRepository, RepositorySource
from jelmore.ports.runners import BrokenOutputError, Delta, PublicClients, RelayBreak, Runners
from jelmore.ports.sandbox_ports import (
    PortClosedError,
    PortConnection,
    PortConnections,
    PortHandshakeError,
    PortHttp,
    PortRequest,
    PortResponse,
    PortSocket,
    PortSocketClosedError,
)
from jelmore.ports.sandboxes import FoundSandbox, Leftover, Sandboxes, SandboxSpec
from jelmore.ports.store import (
    Idempotency,
    ListQuery,
    OutputStore,
    Page,
    Probe,
    ProbeStore,
    SessionStore,
    Sort,
    Store,
    StoredEvent,
)
from jelmore.ports.terminals import TerminalClosedError, TerminalLink, TerminalLinks
from jelmore.ports.workspaces import FileSandbox, FileSandboxes, WorkspaceAnswer, WorkspaceHelpers
from jelmore.session.world import Address, ControlAddress

__all__ = [
    "Address",
    "ApiKey",
    "BrokenOutputError",
    "CallEvent",
    "Clock",
    "ControlAddress",
    "Delta",
    "Demand",
    "DiskSpace",
    "Edge",
    "EventBus",
    "FetchedRepository",
    "FileSandbox",
    "FileSandboxes",
    "FoundSandbox",
    "Gateway",
    "GatewayStore",
    "HeldOutbox",
    "HostMemory",
    "Idempotency",
    "KeyRights",
    "KeyStore",
    "Leases",
    "Leftover",
    "ListQuery",
    "LiveLine",
    "LiveOutput",
    "ModelUsage",
    "Outbox",
    "OutputStore",
    "Page",
    "PoolStore",
    "PortClosedError",
    "PortConnection",
    "PortConnections",
    "PortHandshakeError",
    "PortHttp",
    "PortRequest",
    "PortResponse",
    "PortSocket",
    "PortSocketClosedError",
    "Probe",
    "ProbeStore",
    "PublicClients",
    "Records",
    "RelayBreak",
    "RepositorySource",
    "Role",
    "RouteCall",
    "Runners",
    "SandboxSpec",
    "Sandboxes",
    "SessionStore",
    "Sort",
    "Store",
    "StoredCredential",
    "StoredEvent",
    "StoredOutput",
    "TerminalClosedError",
    "TerminalLink",
    "TerminalLinks",
    "WatchList",
    "WorkspaceAnswer",
    "WorkspaceHelpers",
]
