"""What the API says of memory, processes and disk, and how a limit is changed."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from jelmore.ports import Address, Probe
from jelmore.session.errors import WorkspaceFullError
from jelmore.session.limits import MEBIBYTE
from jelmore.session.resources import Measurement, Resources
from jelmore_protocol.control import InputAccepted, InputRequest, OutputLimits
from tests.integration.api.world import world

READING = Measurement(1, 2, 3, 4, 5, 6, cpu_millis=7, cpu_sustained_millis=8, cpu_limit_millis=9, oom_kills=10)
NUMBERS = {
    "memory_bytes": 1,
    "memory_limit_bytes": 2,
    "pids": 3,
    "pids_limit": 4,
    "workspace_bytes": 5,
    "workspace_limit_bytes": 6,
    "cpu_millis": 7,
    "cpu_limit_millis": 9,
    "oom_kills": 10,
}
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def test_sizes_are_shown_with_the_session_its_series_and_the_totals() -> None:
    async with world() as api, api.client() as http:
        api.bus.away = True  # so that events wait
        made = (await http.post("/api/v1/sessions")).json()
        assert made["resources"]["memory_bytes"] is None
        session = await api.store.load(UUID(made["id"]))
        await api.store.save(replace(session, resources=Resources(READING, MOMENT, {"workspace": 80})), [])
        await api.cache.forget(session.id)
        shown = (await http.get(f"/api/v1/sessions/{made['id']}")).json()["resources"]
        assert shown == {**NUMBERS, "at": "2026-01-02T03:04:05.000Z", "warned_percent": {"workspace": 80}}
        await api.store.probe(session.id, Probe(MOMENT, healthy=True, latency_ms=1, reading=READING))
        await api.store.probe(session.id, Probe(MOMENT, healthy=False, latency_ms=1))
        series = (await http.get(f"/api/v1/sessions/{made['id']}/metrics")).json()
        assert series["latest"] == {**NUMBERS, "at": "2026-01-02T03:04:05.000Z"}
        assert len(series["series"]) == 1
        stats = (await http.get("/api/v1/sessions/stats")).json()
        assert stats["resources"] == {"memory_bytes": 1, "pids": 3, "workspace_bytes": 5}
        assert stats["disk"]["free_bytes"] > 0
        assert stats["outbox"]["waiting"] >= 1
        assert (await http.get("/health")).json()["disk"]["free_bytes"] > 0


async def test_little_disk_refuses_new_sessions_and_shows_in_health() -> None:
    async with world(floor_bytes=1) as api, api.client() as http:
        api.engine.free = 0
        refused = await http.post("/api/v1/sessions")
        assert (refused.status_code, refused.json()["code"]) == (429, "capacity")
        assert "0 MiB of disk are free" in refused.json()["detail"]
        health = (await http.get("/health")).json()
        assert (health["status"], "disk" in health["degraded"]) == ("degraded", True)


async def test_a_workspace_limit_is_given_changed_and_bounded() -> None:
    async with world() as api, api.client() as http:
        made = (await http.post("/api/v1/sessions", json={"limits": {"workspace_bytes": "64m"}})).json()
        assert made["limits"]["workspace_bytes"] == 64 * MEBIBYTE
        runner = await api.runner(made["id"])
        assert runner.workspace_limit_bytes == 64 * MEBIBYTE
        path = f"/api/v1/sessions/{made['id']}"
        changed = await http.patch(path, json={"limits": {"workspace_bytes": "1g"}})
        assert changed.json()["limits"]["workspace_bytes"] == 1024 * MEBIBYTE
        assert runner.workspace_limit_bytes == 1024 * MEBIBYTE
        for limit in ("1m", "11g"):
            refused = await http.patch(path, json={"limits": {"workspace_bytes": limit}})
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
        assert (await http.get(path)).json()["limits"]["workspace_bytes"] == 1024 * MEBIBYTE
        assert runner.workspace_limit_bytes == 1024 * MEBIBYTE


async def test_limits_of_output_are_changed_and_bounded() -> None:
    async with world() as api, api.client() as http:
        made = (await http.post("/api/v1/sessions")).json()
        runner = await api.runner(made["id"])
        path = f"/api/v1/sessions/{made['id']}"
        wanted = {"output_bytes": "4m", "output_bytes_per_s": 4096}
        changed = await http.patch(path, json={"limits": wanted})
        assert changed.status_code == 200, changed.text
        assert changed.json()["limits"]["output_bytes"] == 4 * MEBIBYTE
        assert changed.json()["limits"]["workspace_bytes"] == made["limits"]["workspace_bytes"]
        assert runner.output_limits == OutputLimits(total_bytes=4 * MEBIBYTE, bytes_per_s=4096)
        for limit in ({"output_bytes": 1}, {"output_bytes_per_s": 1}, {"output_bytes": "1t"}, {"output_bytes": 0}):
            refused = await http.patch(path, json={"limits": limit})
            assert refused.status_code == 422, refused.text
        assert runner.output_limits == OutputLimits(total_bytes=4 * MEBIBYTE, bytes_per_s=4096)


async def test_an_overfull_session_says_why_it_takes_no_input() -> None:
    async with world() as api, api.client() as http:
        made = (await http.post("/api/v1/sessions")).json()

        async def refuse(at: Address, request: InputRequest) -> InputAccepted:
            raise WorkspaceFullError("the workspace holds 13 MiB of 10 MiB")

        api.engine.runners.input = refuse  # type: ignore[method-assign]
        refused = await http.post(f"/api/v1/sessions/{made['id']}/input", json={"input": "hello"})
        assert (refused.status_code, refused.json()["code"]) == (409, "workspace_full")
