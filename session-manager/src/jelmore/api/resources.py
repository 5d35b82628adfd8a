"""Resource use of a session (memory, processes, disk): the newest measurement and the stored ones."""

from fastapi import APIRouter

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId
from jelmore.api.responses import MeasurementResponse, ResourcesSeriesResponse, measured
from jelmore.session.resources import Measurement

router = APIRouter(route_class=AuthenticatedRoute, tags=["sessions"])


@router.get("/{session_id}/metrics", response_model=ResourcesSeriesResponse, name="session_metrics")
async def session_metrics(context: ContextOf, caller: CallerOf, session_id: SessionId) -> ResourcesSeriesResponse:
    """Return the session's resource use, measured with each health check, newest first.

    A paused or hibernated session is not measured; its last measurements are kept.
    """
    await context.services.queries.get(caller, session_id)
    probes = await context.services.queries.probes(caller, session_id)
    series = [
        MeasurementResponse(at=probe.at, **measured(probe.reading))
        for probe in probes
        if probe.reading != Measurement()
    ]
    return ResourcesSeriesResponse(session_id=str(session_id), latest=series[0] if series else None, series=series)
