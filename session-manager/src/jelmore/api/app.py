"""Builds the ASGI application from its routes, error handlers and middleware."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from jelmore.api import browser, docs_pages, openapi, problems
from jelmore.api.failures import FailedCredentials
from jelmore.api.heads import HeadAsGet, OptionsAsAllow
from jelmore.api.hosts import AllowedHosts, HostGate
from jelmore.api.metrics import Metrics
from jelmore.api.middleware import Outermost
from jelmore.api.port_names import PortNames
from jelmore.api.port_origin import PortGate
from jelmore.api.rates import RateLimit
from jelmore.api.routes import all_routes
from jelmore.api.services import ApiConfig, Context, Services, keep
from jelmore.api.stream_limits import StreamLimits
from jelmore.ports.operator import AuditEntry
from jelmore_protocol.tracing import Tracing
from jelmore_protocol.websocket_server import ServerLimits

type Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]

_TAGS = [
    {"name": "sessions", "description": "Make, find, change and end sessions."},
    {"name": "conversation", "description": "Talk with a session, and read what it said."},
    {"name": "files", "description": "Bring files into a session's workspace and take them out."},
    {"name": "history", "description": "Export and erase what a session has said and done."},
    {"name": "events", "description": "What happened in all sessions, in one order."},
    {"name": "people", "description": "Participants, comments, read marks, invites, and the inbox."},
    {"name": "webhooks", "description": "URLs of yours that are called with events."},
    {"name": "admin", "description": "For operators: keys, drain, live settings, audit log."},
    {"name": "usage", "description": "Tokens, cost and budgets."},
    {"name": "gateway", "description": "Servers that sessions reach under a name, and their credentials."},
    {"name": "system", "description": "The installation as a whole."},
]


def create_app(
    services: Services, config: ApiConfig, lifespan: Lifespan | None = None, tracing: Tracing | None = None
) -> FastAPI:
    """Return the ASGI application. `lifespan` starts and stops what `services` need."""
    app = FastAPI(
        title="Jelmore",
        version=config.version,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=docs_pages.OPENAPI_PATH,
        openapi_tags=_TAGS,
        redirect_slashes=False,
        generate_unique_id_function=openapi.operation_id,
        telemetry={"tracing": False},
        routes=list(all_routes()),
    )
    metrics = Metrics()
    limits = ServerLimits(send_timeout_s=config.send_timeout_s, auth_timeout_s=config.auth_timeout_s)
    rates = RateLimit(config.rate_limit_per_minute, services.rates)
    failures = FailedCredentials(config.failures_per_minute)
    failed_sign_ins = FailedCredentials(config.failures_per_minute)
    context = Context(services, config, metrics, rates, StreamLimits(limits), failures, failed_sign_ins)
    keep(app.state, context)
    docs_pages.install(app)
    browser.install(app)
    openapi.install(app)
    problems.install(app)
    app.add_middleware(HeadAsGet)
    app.add_middleware(OptionsAsAllow)
    public_host = urlsplit(config.public_url).hostname or ""
    # Inside CORS: a preflight has no key yet, and the page that sent it may read why its request is refused.
    app.add_middleware(HostGate, hosts=AllowedHosts([public_host, *config.allowed_hosts]))
    if config.cors_origins:
        app.add_middleware(CORSMiddleware, **_cors(config.cors_origins))

    # Outside of everything that belongs to the names of this installation, as the rules for other origins.
    app.add_middleware(PortGate, context=context, names=PortNames(config.ports_host, config.public_url))

    def note(entry: AuditEntry) -> None:
        services.audit.note(entry)

    app.add_middleware(Outermost, metrics=metrics, note=note, tracing=tracing)
    return app


def _cors(origins: Sequence[str]) -> dict[str, Any]:
    """Return what web pages of other origins may do. Cookies are not sent: the API knows only keys and tokens."""
    return {
        "allow_origins": list(origins),
        "allow_methods": ["*"],
        "allow_headers": ["*"],
        "expose_headers": ["Link", "Location", "Retry-After", "X-Request-ID", "X-Total-Count", "ETag"],
        "max_age": 3600,
    }
