"""The ASGI application of one manager."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from socket import gethostname
from typing import Any

import structlog

from jelmore import __version__
from jelmore.api.app import create_app
from jelmore.api.services import ApiConfig
from jelmore.api.starting import StartGate
from jelmore.bootstrap.manager import Manager
from jelmore.ports import Sandboxes
from jelmore.session.errors import JelmoreError
from jelmore.settings import Settings

_log = structlog.get_logger(__name__)


def make_app(
    settings: Settings,
    slot: int | None = None,
    on_failure: Callable[[], None] = lambda: None,
    sandboxes: Sandboxes | None = None,
) -> Any:
    """Return the ASGI application of one manager; its lifespan starts and closes the manager.

    It serves at once: requests wait for the manager's start for a moment, then get 503. If the start fails, it calls
    `on_failure` to end the process. `slot` identifies the manager within its run directory. `sandboxes` is used in
    place of the driver that the settings name. The application's `state.leave()` ends the waits of its requests.
    """
    manager = Manager(settings, settings.manager_slot or 0 if slot is None else slot, sandboxes)

    async def start() -> None:
        try:
            await manager.start()
        except Exception as error:  # noqa: BLE001 - no other code would see the error
            known = isinstance(error, JelmoreError)
            _log.error("manager_failed", error=str(error), exc_info=None if known else error)
            on_failure()

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncGenerator[None]:
        starting = asyncio.create_task(start(), name="manager start")
        try:
            yield
        finally:
            starting.cancel()
            await asyncio.wait({starting})
            await manager.close()

    app = create_app(manager.parts.services(), _api_config(settings), lifespan, manager.drivers.tracing)
    app.add_middleware(StartGate, ready=manager.parts.health.ready)
    app.state.leave = manager.parts.watchers.leave
    return app


def _api_config(settings: Settings) -> ApiConfig:
    return ApiConfig(
        public_url=settings.public_url,
        version=__version__,
        rate_limit_per_minute=settings.rate_limit_per_minute,
        failures_per_minute=settings.failures_per_minute,
        allowed_hosts=(*settings.allowed_host_list, *_own_names(gethostname())),
        ports_host=settings.effective_ports_host,
        cors_origins=settings.cors_origin_list,
    )


def _own_names(name: str) -> tuple[str, ...]:
    """Return the names under which others on the local network reach a machine that is called `name`."""
    return (name, f"{name.partition('.')[0]}.local")
