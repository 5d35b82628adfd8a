"""The Python files of the repository, for checks of all of them."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def sources() -> tuple[Path, ...]:
    """Return the Python files of the repository, as git knows them or would add them."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.splitlines()
    return tuple(path for name in names if (path := ROOT / name).is_file())
