"""Messages between the manager and the gateway on the gateway's control socket: JSON over HTTP.

| call | body -> response |
|---|---|
| `GET /health` | -> GatewayHealth |
| `PUT /config` | GatewayConfig -> GatewayHealth; replaces the whole configuration |
| `GET /sandboxes` | -> SandboxList |
| `PUT /sandboxes/{key}` | Registration -> 204; its sockets exist when the call returns; may run twice |
| `DELETE /sandboxes/{key}` | -> 204; closes its sockets and connections; absent is success |
| `POST /revocations` | Revocations -> 204; cuts the sandboxes' connections and refuses new ones |
| `GET /usage?after=SEQ` | -> UsagePage; the records after `SEQ`, oldest first |

Errors are `{"code": str, "message": str}` with a 4xx or 503 status.
"""

import hashlib
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

MODEL_SOCKET: Final = "model.sock"
"""The name of a sandbox's socket for the model API and named routes, in its folder."""

EGRESS_SOCKET: Final = "egress.sock"
"""The name of a sandbox's socket for other hosts, in its folder."""

CONTROL_SOCKET: Final = "control.sock"
"""The name of the gateway's own control socket."""

TOKEN_SOCKET: Final = "gateway.sock"  # noqa: S105 - a name
"""The name of the socket on which a session's token says who calls. Containers of earlier versions use it."""

MAX_USAGE_RECORDS: Final = 1000
MAX_REVOCATIONS: Final = 1000


def sandbox_key(session_id: object, generation: int) -> str:
    """Return the key under which the gateway knows one sandbox of a session: 16 hex digits, the same every time.

    It names the folder of the sandbox's sockets, whose path must be short.
    """
    return hashlib.sha256(f"{session_id}/{generation}".encode()).hexdigest()[:16]


class Message(BaseModel):
    """Base of the messages. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Registration(Message):
    """One sandbox that may use the gateway, and what it may use."""

    session_id: str
    generation: int = Field(ge=1)
    user_id: str = ""
    routes: list[str] = []  # names of the routes that it may use, as `kind/name`
    egress: dict[str, Any] | None = None  # the policy of other hosts; None: none may be reached


class SandboxEntry(Registration):
    """A registration as the gateway holds it."""

    key: str
    revoked: bool = False


class SandboxList(Message):
    """Every registered sandbox."""

    sandboxes: list[SandboxEntry]


class Revocations(Message):
    """Keys of sandboxes that may not use the gateway any more. Unknown ones are ignored."""

    sandboxes: list[str] = Field(max_length=MAX_REVOCATIONS)


class GatewayConfig(Message):
    """What is the same for all sandboxes. The manager sends it whole whenever the gateway's `config` differs."""

    digest: str  # names this configuration; the gateway reports it in its health
    token_public_key: str = ""  # PEM, Ed25519: verifies the tokens of sandboxes that come over a network


class GatewayHealth(Message):
    """The state of the gateway."""

    gateway: str  # the id of its state; a new id means that its registrations are lost
    started_at: datetime
    config: str = ""  # the digest of its configuration
    sandboxes: int = 0
    streams: int = 0
    usage_seq: int = 0


class UsageRecord(Message):
    """What one call of the model API used. `complete` is false when the response broke off."""

    seq: int
    session_id: str
    generation: int
    at: datetime
    model: str = ""
    status: int
    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cache_read_tokens: int = Field(default=0, ge=0)
    cache_write_tokens: int = Field(default=0, ge=0)
    complete: bool = True


class UsagePage(Message):
    """Usage records after a seq. There are more when it holds MAX_USAGE_RECORDS."""

    gateway: str
    records: list[UsageRecord]
