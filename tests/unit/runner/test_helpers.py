"""Optional work of the runner may fail: it is reported, started again, and never ends the run."""

import asyncio

import pytest

from jelmore_runner import supervisor as supervisor_module
from jelmore_runner.supervisor import ReportLimit, Supervisor


async def test_a_helper_that_fails_is_reported_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "FIRST_PAUSE_S", 0.001)
    supervisor, reports, done = Supervisor(), list[str](), asyncio.Event()
    errors: list[Exception] = [
        UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"),
        OSError("EACCES"),
    ]

    async def work() -> None:
        if errors:
            raise errors.pop(0)
        done.set()
        await asyncio.Event().wait()

    supervisor.start_helper("workspace watch", work, reports.append)
    await supervisor.watch(done)
    await supervisor.end()
    assert [report.partition(" failed")[0] for report in reports] == ["workspace watch"], "the second one came at once"
    assert all(report.encode() for report in reports)


def test_a_helper_that_always_fails_is_reported_about_a_dozen_times_a_day() -> None:
    limit, day_s = ReportLimit(), 86400
    reported = [left for now_s in range(30, 3 * day_s, 60) if (left := limit.due(now_s)) is not None]
    assert len(reported) <= 24
    assert reported[0] == 0
    assert sum(reported) + len(reported) > 4000, "none is forgotten"
    assert limit.due(10 * day_s) is not None, "after a quiet time it is reported at once"
