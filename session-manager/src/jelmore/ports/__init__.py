"""Everything outside this process, as the control plane wants to see it. Read this second, after `session/`.

Every method has a deadline of its own and raises only from `jelmore.session.errors`: `DependencyError` when the
other side is away (retry), `RefusedError` when it said no for good. Concrete classes meet only in `bootstrap.py`.
"""

from jelmore.ports.boxes import Address, BoxSpec, Delta, FoundBox, RelayBreak, Runners, Sandboxes
from jelmore.ports.passing import Clock, Edge, Events, LiveLine, LiveOutput, Records, StoredOutput, WatchList
from jelmore.ports.truth import (
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
    "BoxSpec",
    "Clock",
    "Delta",
    "Edge",
    "Events",
    "FoundBox",
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
    "Sandboxes",
    "Store",
    "StoredEvent",
    "StoredOutput",
    "WatchList",
]
