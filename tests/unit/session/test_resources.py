"""When a session's owner is warned that something runs short."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from jelmore.session.errors import InvalidRequestError
from jelmore.session.limits import MEBIBYTE, MINIMUM_WORKSPACE_BYTES, Limits, combine
from jelmore.session.processor import ProcessorSample, ProcessorUse
from jelmore.session.resources import LEVELS, Measurement, Resource, Resources, judge
from tests.support.records import MOMENT


def reading(resource: Resource, used: int | None, limit: int | None = 100) -> Measurement:
    match resource:
        case Resource.MEMORY:
            return Measurement(memory_bytes=used, memory_limit_bytes=limit)
        case Resource.PIDS:
            return Measurement(pids=used, pids_limit=limit)
        case Resource.WORKSPACE:
            return Measurement(workspace_bytes=used, workspace_limit_bytes=limit)
        case Resource.PROCESSOR:
            return Measurement(cpu_sustained_millis=used, cpu_limit_millis=limit)
        case Resource.OPEN_FILES:
            return Measurement(open_files=used, open_files_limit=limit)


def warned_levels(resource: Resource, uses: Iterable[int | None]) -> list[list[int]]:
    """Return the levels that are reported after each measurement."""
    known, levels = Resources(), []
    for used in uses:
        known, drafts = judge(known, reading(resource, used), MOMENT)
        levels.append([draft.payload["level_percent"] for draft in drafts])
    return levels


@pytest.mark.parametrize("resource", [Resource.MEMORY, Resource.PIDS, Resource.PROCESSOR, Resource.OPEN_FILES])
def test_one_level_is_reported_once_on_the_way_up(resource: Resource) -> None:
    assert warned_levels(resource, [50, 89, 90, 95, 89, 91, 84, 90]) == [[], [], [90], [], [], [], [], [90]]


def test_the_workspace_has_two_levels() -> None:
    uses = [10, 80, 99, 100, 130, 96, 100, 94, 100, 10, 150]
    assert warned_levels(Resource.WORKSPACE, uses) == [[], [80], [], [100], [], [], [], [], [100], [], [100]]


def test_unknown_sizes_change_nothing() -> None:
    assert warned_levels(Resource.MEMORY, [95, None, 95]) == [[90], [], []]
    for resource in LEVELS:
        known, drafts = judge(Resources(), reading(resource, 10**9, 0), MOMENT)
        assert (drafts, dict(known.warned)) == ([], {})
    nothing = Resources()
    assert judge(nothing, Measurement(), MOMENT) == (nothing, [])


def test_the_warning_says_what_and_how_much() -> None:
    [draft] = judge(Resources(), reading(Resource.WORKSPACE, 85), MOMENT)[1]
    assert draft.payload == {
        "resource": "workspace",
        "level_percent": 80,
        "percent": 85.0,
        "used": 85,
        "limit": 100,
        "unit": "bytes",
    }


def test_only_a_change_worth_a_write_makes_a_new_record() -> None:
    first, _ = judge(Resources(), reading(Resource.MEMORY, 50), MOMENT)
    assert (first.reading.memory_bytes, first.read_at) == (50, MOMENT)
    assert judge(first, reading(Resource.MEMORY, 54), MOMENT)[0] is first
    assert judge(first, reading(Resource.MEMORY, None), MOMENT)[0] is first
    assert judge(first, reading(Resource.MEMORY, 56), MOMENT)[0].reading.memory_bytes == 56
    assert judge(first, reading(Resource.MEMORY, 50, 200), MOMENT)[0].reading.memory_limit_bytes == 200


def test_a_workspace_limit_is_requested_within_bounds() -> None:
    ceiling = replace(Limits(), workspace_bytes=200 * MEBIBYTE)
    none = replace(Limits(), workspace_bytes=0)
    assert combine({}, none, ceiling).workspace_bytes == 0
    assert combine({"workspace_bytes": 64 * MEBIBYTE}, none, ceiling).workspace_bytes == 64 * MEBIBYTE
    for limit in (0, MINIMUM_WORKSPACE_BYTES - 1, 201 * MEBIBYTE):
        with pytest.raises(InvalidRequestError, match=r"limits\.workspace_bytes"):
            combine({"workspace_bytes": limit}, Limits(), ceiling)


def test_killed_processes_are_counted_and_reported_once_a_period() -> None:
    known, found = Resources(), []
    steps = [(0, 0), (30, 1), (60, 3), (330, 3), (360, 3), (700, 0), (1100, 1), (1130, None), (1160, 1)]
    for seconds, count in steps:
        reading = Measurement(oom_kills=count, memory_limit_bytes=1000)
        known, drafts = judge(known, reading, MOMENT + timedelta(seconds=seconds))
        found += [(seconds, draft.payload["resource"], draft.payload["used"]) for draft in drafts]
    assert found == [(30, "out_of_memory", 1), (330, "out_of_memory", 2), (1100, "out_of_memory", 1)]


def test_processor_use_is_an_average_and_begins_again_with_a_sandbox() -> None:
    use, found = ProcessorUse(), []
    samples = [(0, 1, 0), (30, 1, 30_000_000), (60, 1, 60_000_000), (90, 1, 60_000_000), (120, 1, 120_000_000)]
    samples += [(150, 1, 180_000_000), (180, 2, 1_000_000), (210, 2, 1_000_000), (9000, 2, 2_000_000)]
    for seconds, generation, used_us in samples:
        use = use.after(ProcessorSample(MOMENT + timedelta(seconds=seconds), generation, used_us))
        found.append((use.latest_millis, use.sustained_millis))
    assert found == [
        (None, None), (1000, None), (1000, None), (0, None), (2000, 1000), (2000, 1250),
        (None, None), (0, None), (None, None),
    ]  # fmt: skip
    assert len(use.samples) == 1
