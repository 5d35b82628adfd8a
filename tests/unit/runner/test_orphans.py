from jelmore_runner.orphans import IDLE_S, Orphan, Orphans


def test_an_orphan_counts_as_long_as_it_uses_processor_time() -> None:
    now = 0.0
    ticks = {1: 5, 2: 5}
    orphans = Orphans(lambda _: [Orphan(pid, "job", used) for pid, used in ticks.items()], lambda: now)

    def working() -> list[int]:
        return [orphan.pid for orphan in orphans.scan(9)[0]]

    assert working() == [1, 2], "a new one counts, whatever it does"
    now = IDLE_S - 1
    ticks[1] = 6
    assert working() == [1, 2]
    now = IDLE_S + 1
    assert working() == [1]
    assert [orphan.pid for orphan in orphans.scan(9)[1]] == [2]
    ticks[2] = 6
    assert working() == [1, 2]
    del ticks[1]
    assert working() == [2]
