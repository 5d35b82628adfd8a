"""Endpoints of the whole installation: probes, health, metrics, and the manual sweep."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from jelmore.api.auth import (
    AuthenticatedRoute,
    BoundedRoute,
    CallerOf,
    ContextOf,
    caller_of,
    credential,
    login_cookie,
)
from jelmore.api.manager_metrics import manager_series, usage_series
from jelmore.api.metrics import CONTENT_TYPE
from jelmore.api.peers import is_local
from jelmore.api.services import Context
from jelmore.session.errors import DependencyError, ForbiddenError

probes = APIRouter(route_class=BoundedRoute, tags=["system"])
operations = APIRouter(route_class=AuthenticatedRoute, tags=["system"])

HEALTH_PATHS: Final = ("/api/v1/health", "/health", "/api/health")
PROBE_PATHS: Final = frozenset({"/livez", "/readyz", *HEALTH_PATHS})
"""Served without a credential, also while the manager starts. Without one the answer is only the status."""

CLEANUP_PATHS: Final = ("/api/v1/cleanup", "/api/cleanup")


@probes.get("/livez", name="livez")
async def livez() -> dict[str, str]:
    """Return 200 while this process serves requests; no dependency is checked."""
    return {"status": "ok"}


@probes.get("/readyz", name="readyz", responses={503: {"description": "Not yet."}})
async def readyz(context: ContextOf) -> Response:
    """Return 200 when this manager has checked every session since its start and serves requests, else 503."""
    ready = context.services.health.ready.is_set()
    headers = {} if ready else {"Retry-After": "1"}
    return JSONResponse({"status": "ok" if ready else "starting"}, 200 if ready else 503, headers)


async def health(request: Request, context: ContextOf) -> Response:
    """Return the health of the installation: 200 for `ok` and `degraded`, 503 for `down`.

    Without a key the answer is only `status`. With an API key it has the checks, the loops and the version too, except
    while keys cannot be checked: before the manager is ready, and while PostgreSQL is away.
    """
    report = dict(await context.services.health.report())
    down = report["status"] == "down"
    if not await _may_see_details(context, request):
        report = {"status": report["status"]}
    headers = {"Retry-After": "5"} if down else {}
    return JSONResponse(report, 503 if down else 200, headers)


async def _may_see_details(context: Context, request: Request) -> bool:
    """Return whether the caller holds a key or asks from this machine. Raises UnauthenticatedError for a wrong key."""
    if is_local(request.scope):
        return True
    if credential(request) is None and login_cookie(request) is None:
        return False
    if not context.services.health.ready.is_set():
        return False
    try:
        await caller_of(context, request, "health", None)
    except (DependencyError, ForbiddenError):
        return False
    return True


async def cleanup(
    context: ContextOf,
    caller: CallerOf,
    dry_run: Annotated[bool, Query(description="Only report.")] = False,
) -> dict[str, Any]:
    """Remove containers, routes, volumes and streams that no session owns; return what was found and done."""
    caller.check_admin()
    report = await context.services.sweeper.sweep(dry_run=dry_run)
    return dict(report.to_mapping())


@operations.get("/metrics", name="metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(context: ContextOf, caller: CallerOf) -> Response:
    """Return the metrics in Prometheus's text format. Needs an admin or readonly key."""
    if caller.sees_only is not None:
        raise ForbiddenError("this needs an admin or readonly key")
    stats = await context.services.queries.stats(caller)
    by_model, waiting = await context.services.budgets.totals(caller)
    also = [*manager_series(stats, context.services.health.loops()), *usage_series(by_model, waiting)]
    body = context.metrics.text(stats.by_status, stats.slots_used, stats.slots_total, also)
    return Response(body, media_type=CONTENT_TYPE)


for path in HEALTH_PATHS:
    probes.add_api_route(
        path,
        health,
        name="health",
        include_in_schema=path == HEALTH_PATHS[0],
        responses={503: {"description": "Down."}},
    )
for path in CLEANUP_PATHS:
    operations.add_api_route(
        path, cleanup, methods=["POST"], name="cleanup", include_in_schema=path == CLEANUP_PATHS[0]
    )
