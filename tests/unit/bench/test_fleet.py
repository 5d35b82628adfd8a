"""The simulated fleet: what goes in comes out, and no host holds more than it has room for."""

from dataclasses import replace

import pytest

from tests.bench.fleet import Assumptions, main, simulate_host

SMALL = Assumptions(host_memory_mib=4096 + 250 * 10, session_mib=250)


def test_every_turn_is_served_once_and_memory_is_never_exceeded() -> None:
    for sessions in (50, 2_000):
        host = simulate_host(SMALL, sessions, seed=1)
        assert host.wakes + host.hits == len(host.waits_s) > 0
        assert host.most_held <= host.slots == 10
        assert not host.waiting
        assert host.working == 0


def test_more_sessions_than_memory_make_people_wait_and_more_memory_ends_it() -> None:
    crowded = simulate_host(SMALL, 2_000, seed=1)
    assert max(crowded.waits_s) > 0
    roomy = simulate_host(replace(SMALL, host_memory_mib=4096 + 250 * 500), 2_000, seed=1)
    assert max(roomy.waits_s) == 0 == roomy.put_to_sleep
    assert len(roomy.waits_s) == len(crowded.waits_s)


def test_the_same_seed_gives_the_same_day(capsys: pytest.CaptureFixture[str]) -> None:
    days = []
    for _ in range(2):
        assert main(["--sessions", "200", "--hosts", "2", "--seed", "7"]) == 0
        days.append(capsys.readouterr().out)
    assert days[0] == days[1]


def test_impossible_fleets_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--host-memory-mib", "1000"])
    assert "must be more than 0" in capsys.readouterr().err
