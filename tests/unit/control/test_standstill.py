"""A manager that was stopped does not count the time in which it could not act."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from jelmore.control.standstill import LONGEST_GAP_S, Standstill
from tests.support.records import MOMENT


@dataclass
class HandClock:
    at: datetime = MOMENT

    def now(self) -> datetime:
        return self.at

    def pass_s(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


async def beating(standstill: Standstill) -> asyncio.Task[None]:
    task = asyncio.create_task(standstill.run(), name="standstill")
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("gap_s", [LONGEST_GAP_S + 1, 3600, -60])
async def test_a_gap_resets_the_count(gap_s: float) -> None:
    clock = HandClock()
    standstill = Standstill(clock)
    task = await beating(standstill)
    clock.pass_s(2)
    assert standstill.since() == MOMENT
    clock.pass_s(gap_s)
    assert standstill.since() == clock.now(), "the first to look after the gap knows it"
    clock.pass_s(2)
    assert standstill.since() == MOMENT + timedelta(seconds=2 + gap_s)
    task.cancel()
    await asyncio.wait([task])


async def test_without_a_beat_no_gap_means_anything() -> None:
    clock = HandClock()
    standstill = Standstill(clock)
    clock.pass_s(3600)
    assert standstill.since() == MOMENT
