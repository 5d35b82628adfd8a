"""Optional work of the runner may fail: it is reported, started again, and never ends the run."""

import asyncio

import pytest

from jelmore_runner import supervisor as supervisor_module
from jelmore_runner.supervisor import Supervisor


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
    assert [report.partition(" failed")[0] for report in reports] == ["workspace watch", "workspace watch"]
    assert all(report.encode() for report in reports)
