"""A person's own git repository in a folder of a test."""

import os
import subprocess
from pathlib import Path
from typing import Final

IDENTITY: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ann"), ("EMAIL", "ann@example.org"))
}
ENVIRONMENT: Final = {
    "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C", **IDENTITY,
}  # fmt: skip


def git(folder: Path, *words: str) -> str:
    """Return what git prints, without the last end of line. Raises CalledProcessError."""
    done = subprocess.run(["git", *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return done.stdout.removesuffix("\n")


def commit(folder: Path, message: str, **files: str) -> str:
    """Write files, commit everything and return the commit."""
    for name, text in files.items():
        (folder / name).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def make(folder: Path) -> Path:
    """Make a repository with two commits on `trunk` and an ignored name, and return its folder."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "-b", "trunk")
    (folder / ".gitignore").write_text("ignored\n")
    commit(folder, "first", kept="kept\n", changed="one\n")
    commit(folder, "second", changed="two\n")
    return folder
