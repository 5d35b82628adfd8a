"""What is asked about the whole installation over HTTP: probes, health, cleanup and metrics."""

import re

from tests.integration.api.world import World


async def test_probes_and_health(api: World) -> None:
    async with api.client("") as http:
        assert (await http.get("/livez")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        for path in ("/health", "/api/health", "/api/v1/health"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["status"]) == (200, "ok")
        api.health.ready.clear()
        starting = await http.get("/readyz")
        assert (starting.status_code, starting.headers["retry-after"]) == (503, "1")
        api.health.ready.set()


async def test_health_is_503_without_the_database(api: World) -> None:
    api.store.away = True
    async with api.client("") as http:
        answer = await http.get("/api/v1/health")
    api.store.away = False
    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    assert answer.json()["checks"]["postgres"]["status"] == "failed"


async def test_health_shows_its_parts_only_to_who_has_a_key(api: World) -> None:
    edge = {"X-Forwarded-For": "192.0.2.7"}
    for path in ("/health", "/api/health", "/api/v1/health"):
        async with api.client("", **edge) as http:
            assert (await http.get(path)).json() == {"status": "ok"}
        async with api.client(api.other_key, **edge) as http:
            assert {"checks", "loops", "version", "disk", "degraded"} < set((await http.get(path)).json())
        async with api.client("wrong", **edge) as http:
            assert (await http.get(path)).status_code == 401
    async with api.client("") as http:  # on the manager's own socket
        assert "checks" in (await http.get("/health")).json()


async def test_health_shows_its_parts_to_a_login(api: World) -> None:
    edge = {"X-Forwarded-For": "192.0.2.7", "Host": "localhost"}
    async with api.client(**edge) as http:
        cookies = (await http.post("/api/v1/login")).cookies
    async with api.client("", **edge, Cookie=f"jelmore_login={cookies['jelmore_login']}") as http:
        assert "checks" in (await http.get("/api/v1/health")).json()


async def test_health_without_the_database_or_before_the_start_shows_its_status_to_everybody(api: World) -> None:
    edge = {"X-Forwarded-For": "192.0.2.7"}
    api.store.away = True
    for key in ("", None):
        async with api.client(key, **edge) as http:
            answer = await http.get("/health")
        assert (answer.status_code, answer.json()) == (503, {"status": "down"})
    api.store.away = False
    api.health.ready.clear()
    async with api.client(**edge) as http:
        assert set((await http.get("/health")).json()) == {"status"}
    api.health.ready.set()


async def test_cleanup_reports(api: World) -> None:
    async with api.client() as http:
        for path in ("/api/cleanup", "/api/v1/cleanup"):
            report = await http.post(path, params={"dry_run": "true"})
            assert report.status_code == 200, report.text
            assert report.json()["dry_run"] is True


async def test_metrics_count_by_operation_and_never_by_session(api: World) -> None:
    async with api.client() as http:
        made = (await http.post("/api/v1/sessions")).json()
        await http.get(f"/api/v1/sessions/{made['id']}")
        await http.get(f"/api/sessions/{made['id']}")
        text = (await http.get("/metrics")).text
    assert 'jelmore_http_requests_total{method="GET",operation="get_session",status="200"} 2.0' in text
    assert 'jelmore_sessions{status="waiting_input"} 1.0' in text
    assert "jelmore_slots_used 1.0" in text
    assert 'jelmore_loop_running{loop="reconcile"} 1.0' in text
    assert re.search(r"^jelmore_disk_free_bytes [1-9]", text, re.MULTILINE)
    assert re.search(r"^jelmore_outbox_waiting [0-9]", text, re.MULTILINE)
    assert made["id"] not in text
