"""Everything outside this process, as the control plane wants to see it. Read this second, after `session/`.

Every method has a deadline of its own and raises only from `jelmore.session.errors`: `DependencyError` when the
other side is away (retry), `RefusedError` when it said no for good. Concrete classes meet only in `bootstrap.py`.
"""

from jelmore.ports.live_output import Clock, Edge, EventBus, LiveLine, LiveOutput, Records, StoredOutput, WatchList
from jelmore.ports.sandboxes import Address, Delta, FoundSandbox, RelayBreak, Runners, Sandboxes, SandboxSpec
from jelmore.ports.store import (
    ApiKey,
    HeldOutbox,
    Idempotency,
    Leases,
    ListQuery,
    Outbox,
    Page,
    Probe,
    Role,
    Store,
    StoredEvent,
)

__all__ = [
    "Address",
    "ApiKey",
    "Clock",
    "Delta",
    "Edge",
    "EventBus",
    "FoundSandbox",
    "HeldOutbox",
    "Idempotency",
    "Leases",
    "ListQuery",
    "LiveLine",
    "LiveOutput",
    "Outbox",
    "Page",
    "Probe",
    "Records",
    "RelayBreak",
    "Role",
    "Runners",
    "SandboxSpec",
    "Sandboxes",
    "Store",
    "StoredEvent",
    "StoredOutput",
    "WatchList",
]
