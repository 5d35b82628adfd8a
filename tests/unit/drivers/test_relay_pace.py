"""The pace of what a relay sends beside output."""

from jelmore.drivers.relay_pace import CHARACTERS_PER_S, FRAMES_PER_S, Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_agent_that_writes_fast_never_waits() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(10 * FRAMES_PER_S):
        assert pace.wait_s(40) == 0
        clock.now += 2 / FRAMES_PER_S


def test_a_flood_waits_for_the_rest_of_its_second() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert [pace.wait_s(40) for _ in range(FRAMES_PER_S - 1)] == [0] * (FRAMES_PER_S - 1)
    clock.now += 0.25
    assert pace.wait_s(40) == 0.75
    clock.now += 0.75
    assert pace.wait_s(40) == 0


def test_large_frames_count_by_their_size() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.wait_s(CHARACTERS_PER_S // 2) == 0
    assert pace.wait_s(4 * CHARACTERS_PER_S) == 4.5
    clock.now += 4.5
    assert pace.wait_s(40) == 0
