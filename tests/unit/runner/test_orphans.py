import os
from pathlib import Path

import pytest

from jelmore_runner import orphans as module
from jelmore_runner.orphans import IDLE_S, Orphan, Orphans, list_orphans


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


def test_threads_of_a_child_are_no_orphans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are as in gVisor, which lists the threads of a process among the children of its parent."""
    own, agent, job, grandchild = os.getpid(), 100, 110, 120
    for process, threads in {own: [own], agent: [agent, 101, 102], job: [job, 111], grandchild: [grandchild]}.items():
        for task in threads:
            shown = tmp_path / str(task)
            for each in threads:
                (shown / "task" / str(each)).mkdir(parents=True)
                (shown / "task" / str(each) / "children").write_text("")
            (shown / "stat").write_text(f"{task} (name {task}) S 1 1 1 0 -1 0 0 0 0 0 3 4 0 0 20\n")
            (shown / "status").write_text(f"Name:\tname\nTgid:\t{process}\nPid:\t{task}\n")
    (tmp_path / str(own) / "task" / str(own) / "children").write_text("100 101 102 110 111 ")
    (tmp_path / str(job) / "task" / str(job) / "children").write_text("120 ")
    monkeypatch.setattr(module, "_PROC", tmp_path)
    assert list_orphans(agent) == [Orphan(job, f"name {job}", 14)]
    assert list_orphans(None) == []
