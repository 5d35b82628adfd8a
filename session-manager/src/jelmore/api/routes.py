"""All routes of the API, built once in a process."""

from functools import cache
from typing import Final

from fastapi import APIRouter
from starlette.routing import BaseRoute
from starlette.types import Scope

from jelmore.api import (
    admin,
    authorizations,
    browser,
    conversation,
    event_socket,
    events,
    files,
    forks,
    gateway,
    history,
    input_queue,
    mcp,
    openapi,
    people,
    profiles,
    repositories,
    resources,
    rewinds,
    sandbox_ports,
    sessions,
    sign_in,
    streams,
    system,
    terminal,
    usage,
    web_push,
    webhooks,
)
from jelmore.api.mounts import MOUNTS

_OF_A_SESSION: Final = (
    sessions.creating,
    sessions.router,
    forks.router,
    rewinds.router,
    conversation.router,
    resources.router,
    history.router,
    input_queue.router,
    mcp.router,
    streams.router,
    terminal.router,
    sandbox_ports.router,
    people.router,
    gateway.of_session,
    files.router,
    repositories.router,
)
_OF_ALL: Final = (
    streams.own_url,
    terminal.own_url,
    events.router,
    event_socket.router,
    webhooks.router,
    web_push.router,
    gateway.router,
    authorizations.router,
    authorizations.returning,
    people.top,
    admin.router,
    people.accepting,
    profiles.router,
    usage.router,
    system.probes,
    system.operations,
    browser.router,
    sign_in.router,
    sign_in.returning,
)


@cache
def all_routes() -> tuple[BaseRoute, ...]:
    """Return the routes, which hold nothing of an application, so that many may share them.

    FastAPI builds what a route needs (its parameters, its models) when a request is first compared with it: half a
    second of processor time for all. The comparison here lets the process that managers are forked from do it once.
    """
    router = APIRouter(generate_unique_id_function=openapi.operation_id)
    for mount in MOUNTS:
        for part in _OF_A_SESSION:
            router.include_router(part, prefix=mount.prefix, include_in_schema=mount is MOUNTS[0])
    for part in _OF_ALL:
        router.include_router(part)
    nowhere: Scope = {"type": "http", "method": "GET", "path": "/-", "root_path": "", "headers": []}
    for route in router.routes:
        route.matches(nowhere)
    return tuple(router.routes)
