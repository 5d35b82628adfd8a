"""`python -m tests.chaos --seed 7 --minutes 10`: a long run, then its report; exit 1 when a promise broke."""

import argparse
import asyncio
import secrets
import sys

from tests.chaos.faults import DOCKERD, FAULTS, Fault
from tests.chaos.installation import POOL, Installation
from tests.chaos.long_hangs import LONG_HANGS
from tests.chaos.notebook import Notebook
from tests.chaos.pairs import PAIRS
from tests.chaos.report import report
from tests.chaos.run import Run
from tests.support.stack_fixtures import make_runner_image

_SPARE_SLOTS = 2


def main() -> int:
    """Run, report, and return the exit status."""
    chosen = _arguments()
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    length = "--once" if chosen.once else f"--minutes {chosen.minutes:g}"
    again = f"python -m tests.chaos --seed {seed} {length} --sessions {chosen.sessions}"
    if chosen.runtime == "docker":
        make_runner_image()
    notebook = Notebook(echo=True)
    notebook.say(again)
    installation = Installation(
        runtime=chosen.runtime, JELMORE_MAX_SESSIONS=str(chosen.sessions + _SPARE_SLOTS), **POOL
    )
    try:
        installation.start()
        run = Run(installation, notebook, seed=seed, sessions=chosen.sessions)
        faults = _faults(chosen)
        asyncio.run(run.once_each(faults) if chosen.once else run.for_minutes(faults, chosen.minutes))
        installation.stop()
        for left in installation.remains():
            notebook.find(f"left behind: {left}")
        print(report(installation, notebook, run.outcome, again))
    finally:
        try:
            installation.stop()
        finally:
            if chosen.keep:
                print(f"kept: {installation.folder}")
            else:
                installation.discard()
    return 1 if notebook.findings else 0


def _faults(chosen: argparse.Namespace) -> list[Fault]:
    everything = (*FAULTS, *LONG_HANGS, *PAIRS)
    usable = [fault for fault in everything if chosen.runtime == "docker" or not fault.engine]
    if chosen.only:
        usable = [fault for fault in usable if any(word in fault.name for word in chosen.only)]
    if not usable:
        sys.exit(f"no fault of that name; there are: {', '.join(fault.name for fault in everything)}")
    return [*usable, *([DOCKERD] if chosen.dockerd else [])]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="draw the same faults again; default: a new one")
    parser.add_argument("--minutes", type=float, default=5, help="how long to break things; default 5")
    parser.add_argument("--once", action="store_true", help="every fault once instead, whatever time that takes")
    parser.add_argument("--sessions", type=int, default=3, help="how many sessions; default 3")
    parser.add_argument("--only", nargs="*", help="only faults whose name contains one of these words")
    parser.add_argument("--runtime", choices=["docker", "local"], default="docker", help="local: processes, no engine")
    parser.add_argument("--dockerd", action="store_true", help="also kill the machine's Docker daemon")
    parser.add_argument("--keep", action="store_true", help="keep the data folder for a look")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
