"""What the API needs from the rest of the manager, and its configuration."""

from dataclasses import dataclass
from typing import Final, cast

from starlette.requests import HTTPConnection

from jelmore.api.failures import FailedCredentials
from jelmore.api.metrics import Metrics
from jelmore.api.rates import RateLimit
from jelmore.api.stream_limits import StreamLimits
from jelmore.control.access import Access
from jelmore.control.attendance import AttendanceKeeper
from jelmore.control.audit import AuditLog
from jelmore.control.authorizations import Authorizations
from jelmore.control.budgets import Budgets
from jelmore.control.erasure import Eraser
from jelmore.control.event_feed import EventFeed
from jelmore.control.files import Files
from jelmore.control.forks import Forks
from jelmore.control.gateway_admin import GatewayAdmin
from jelmore.control.health import Health
from jelmore.control.mcp_calls import McpCalls
from jelmore.control.operator import Operator
from jelmore.control.people import People
from jelmore.control.profiles import Profiles
from jelmore.control.pushes import Pushes
from jelmore.control.queue_calls import QueueCalls
from jelmore.control.rates import SharedRates
from jelmore.control.repositories import Repositories
from jelmore.control.rewinds import Rewinds
from jelmore.control.sandbox_ports import SandboxPorts
from jelmore.control.sessions import SessionCommands, SessionQueries
from jelmore.control.sign_in import SignIn
from jelmore.control.streams import Streams
from jelmore.control.sweeper import Sweeper
from jelmore.control.terminals import Terminals
from jelmore.control.tickets import Tickets
from jelmore.control.uploads import Uploads
from jelmore.control.web_push import WebPush
from jelmore.control.webhooks import Webhooks
from jelmore.control.workspaces import Workspaces
from jelmore_protocol.websocket_server import WRITER_FRAME_BYTES

_KEY: Final = "jelmore"


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the control plane that the API calls."""

    queries: SessionQueries
    commands: SessionCommands
    streams: Streams
    access: Access
    sweeper: Sweeper
    health: Health
    feed: EventFeed
    tickets: Tickets
    webhooks: Webhooks
    eraser: Eraser
    budgets: Budgets
    queue: QueueCalls
    rates: SharedRates
    people: People
    profiles: Profiles
    operator: Operator
    audit: AuditLog
    gateway: GatewayAdmin
    authorizations: Authorizations
    files: Files
    mcp: McpCalls
    repositories: Repositories
    pushes: Pushes
    terminals: Terminals
    sandbox_ports: SandboxPorts
    workspaces: Workspaces
    forks: Forks
    rewinds: Rewinds
    uploads: Uploads
    push: WebPush
    attendance: AttendanceKeeper
    sign_in: SignIn | None = None  # None: people sign in with keys only


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """Configuration of the API.

    `public_url` is the address that clients use; the `urls` in responses start with it. `max_body_bytes` leaves room
    for the JSON escapes of an input of `jelmore_protocol.MAX_INPUT_BYTES`. `rate_limit_per_minute` 0 means no limit,
    and so does `failures_per_minute` 0. `allowed_hosts` are names beside the one of `public_url`; see `AllowedHosts`.
    """

    public_url: str = "http://localhost"
    version: str = "0.1.0"
    max_body_bytes: int = WRITER_FRAME_BYTES  # as on a WebSocket: an input of the maximum size, escaped
    body_timeout_s: float = 30.0
    rate_limit_per_minute: int = 0
    failures_per_minute: int = 60  # wrong keys from one client address
    allowed_hosts: tuple[str, ...] = ()
    ports_host: str = ""  # ports of sessions are names below it; empty: there are none
    cors_origins: tuple[str, ...] = ()  # web pages of these origins may call the API from a browser
    send_timeout_s: float = 30.0  # a client that reads nothing for this long is disconnected
    auth_timeout_s: float = 10.0  # for a WebSocket that sends its token as the first message
    readmit_every_s: float = 60.0  # a stream's credential is checked this often, and at each revocation
    ping_every_s: float = 15.0  # proxies close connections that look idle


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that request handlers use."""

    services: Services
    config: ApiConfig
    metrics: Metrics
    rates: RateLimit
    stream_limits: StreamLimits
    failures: FailedCredentials
    failed_sign_ins: FailedCredentials


def keep(app_state: object, context: Context) -> None:
    """Store the context for `context_of`."""
    setattr(app_state, _KEY, context)


def context_of(connection: HTTPConnection) -> Context:
    """Return the context of the application that serves this connection."""
    return cast("Context", getattr(connection.app.state, _KEY))
