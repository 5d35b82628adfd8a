"""Prometheus metrics: requests, open streams, and the current number of sessions per status.

`manager_metrics` adds the metrics of the manager's loops. No label holds a session id, so the number of series is
bounded.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest

from jelmore.session.states import SessionStatus

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class _Given(CollectorRegistry):
    """Metrics that exist for one response only."""

    def __init__(self, series: Iterable[Metric]) -> None:
        super().__init__()
        self._series = series

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._series


class Metrics:
    """The metrics of one application. Applications in the same process do not share them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "jelmore_http_requests",
            "Requests answered.",
            ("method", "operation", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "jelmore_http_request_seconds",
            "From the request to the end of its answer; streams are not counted.",
            ("operation",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.streams = Gauge(
            "jelmore_open_streams", "Live streams being sent.", ("transport",), registry=self._registry
        )
        self._sessions = Gauge("jelmore_sessions", "Sessions by state.", ("status",), registry=self._registry)
        self._slots_used = Gauge("jelmore_slots_used", "Sessions that hold a container.", registry=self._registry)
        self._slots_total = Gauge("jelmore_slots", "Sessions that may hold one.", registry=self._registry)

    def answered(self, method: str, operation: str, status: int, seconds: float | None) -> None:
        """Count a response. `seconds` is None for a stream: the client decides how long it lasts."""
        self._requests.labels(method, operation, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(operation).observe(seconds)

    def text(
        self,
        by_status: Mapping[SessionStatus, int],
        slots_used: int,
        slots_total: int,
        also: Iterable[Metric] = (),
    ) -> bytes:
        """Return all metrics in Prometheus's text format, followed by `also`."""
        for status in SessionStatus:
            self._sessions.labels(status.value).set(by_status.get(status, 0))
        self._slots_used.set(slots_used)
        self._slots_total.set(slots_total)
        return generate_latest(self._registry) + generate_latest(_Given(also))
