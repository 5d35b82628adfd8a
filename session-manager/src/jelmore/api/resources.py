"""Resource use of a session (memory, processes, disk): the newest measurement and the stored ones."""

from fastapi import APIRouter

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId
from jelmore.api.responses import MeasurementResponse, MeasurementShown, ResourcesSeriesShown
from jelmore.session.resources import Measurement

router = APIRouter(route_class=AuthenticatedRoute, tags=["sessions"])


@router.get("/{session_id}/metrics", response_model=ResourcesSeriesShown, name="session_metrics")
async def session_metrics(context: ContextOf, caller: CallerOf, session_id: SessionId) -> ResourcesSeriesShown:
    """Return the session's resource use, measured with each health check, newest first.

    A paused or hibernated session is not measured; its last measurements are kept.
    """
    await context.services.queries.get(caller, session_id)
    probes = await context.services.queries.probes(caller, session_id)
    series = [
        MeasurementShown(at=probe.at, **_numbers(probe.reading)) for probe in probes if probe.reading != Measurement()
    ]
    return ResourcesSeriesShown(session_id=str(session_id), latest=series[0] if series else None, series=series)


def _numbers(reading: Measurement) -> dict[str, int | None]:
    return MeasurementResponse.of(reading).model_dump()
