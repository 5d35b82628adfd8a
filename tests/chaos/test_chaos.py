"""Every fault once in one run of a fixed seed: short enough for each change, and the same faults each time."""

import gc

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.installation import POOL, Installation
from tests.chaos.long_hangs import HANGS_OF_EACH_CHANGE
from tests.chaos.notebook import Notebook
from tests.chaos.report import report
from tests.chaos.run import Run

SEED = 20
SESSIONS = 3


@pytest.mark.chaos
@pytest.mark.docker
@pytest.mark.timeout(720)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # nats-py leaves streams of tries open
async def test_every_fault_once_and_nothing_lost(runner_image: None) -> None:
    notebook = Notebook(echo=True)
    installation = Installation(JELMORE_MAX_SESSIONS=str(SESSIONS + 2), **POOL)
    try:
        installation.start()
        run = Run(installation, notebook, seed=SEED, sessions=SESSIONS)
        faults = (*FAULTS, *HANGS_OF_EACH_CHANGE)
        await run.once_each(faults)
        text = report(installation, notebook, run.outcome, f"python -m tests.chaos --seed {SEED} --once")
        installation.stop()
        assert installation.remains() == []
        assert notebook.findings == [], text
        assert {each.fault for each in run.outcome.recoveries} == {fault.name for fault in faults}
    finally:
        try:
            installation.stop()
        finally:
            installation.discard()
            gc.collect()  # here, where it is expected, and not in some later test
