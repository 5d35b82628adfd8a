"""Takes each mechanism of `mechanisms.toml` away in a copy of the repository, and shows that its tests then fail.

Prints one line for each mechanism. Exits with 1 when the tests of a mechanism pass without it, or cannot run.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.mutations.mechanisms import ROOT, Mechanism, mechanisms

PACKAGES: Final = ("session-manager", "runner-image", "protocol", "gateway", "client")
_DEADLINE_S: Final = 300
_TESTS_FAILED: Final = 1


def main() -> int:
    """Run every mechanism, or those whose promise contains the given words; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mechanisms whose promise contains one of these words")
    words = parser.parse_args().words
    chosen = [each for each in mechanisms() if not words or any(word in each.promise for word in words)]
    unnoticed = 0
    with tempfile.TemporaryDirectory(prefix="jelmore-mutations-") as folder:
        copy = Path(folder)
        _copy_repository(copy)
        for number, each in enumerate(chosen, 1):
            began = time.monotonic()
            verdict = _verdict(copy, each)
            unnoticed += verdict != "noticed"
            _say(f"{number:3}/{len(chosen)}  {verdict:10} {time.monotonic() - began:5.1f} s  {each.promise}")
    _say(f"{len(chosen) - unnoticed} of {len(chosen)} noticed")
    return 1 if unnoticed else 0


def _verdict(copy: Path, mechanism: Mechanism) -> str:
    """Return `noticed` when the tests fail without the mechanism; otherwise what happened."""
    path = copy / mechanism.file
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace(mechanism.old, mechanism.new), encoding="utf-8")
    try:
        status = _run_tests(copy, mechanism.tests)
    finally:
        path.write_text(before, encoding="utf-8")
    if status is None:
        return "noticed"  # the tests hang without it
    return {_TESTS_FAILED: "noticed", 0: "UNNOTICED"}.get(status, f"ERROR {status}")


def _run_tests(copy: Path, tests: tuple[str, ...]) -> int | None:
    """Return pytest's exit status; None when it did not end in time."""
    sources = [str(copy / package / "src") for package in PACKAGES]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sources, str(copy)]), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            capture_output=True,
            timeout=_DEADLINE_S,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == _TESTS_FAILED and " failed" in done.stdout.splitlines()[-1]:
        return _TESTS_FAILED
    if done.returncode:
        _say(done.stdout[-2000:] + done.stderr[-2000:])
        return max(done.returncode, _TESTS_FAILED + 1)  # nothing ran: the tests themselves are broken
    return 0


def _copy_repository(copy: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
