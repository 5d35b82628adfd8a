"""Scripts that were cut off half-way, or meet another checkout on the same machine."""

import shutil
import sys
from pathlib import Path

from tests.unit.test_scripts import ROOT, run


def test_a_deployment_does_not_take_over_that_of_another_checkout(tmp_path: Path) -> None:
    other, ours = tmp_path / "another one", tmp_path / "ours"
    for folder in (other, ours):
        folder.mkdir()
        (folder / "compose.yaml").write_text("")
    (tmp_path / "link").symlink_to(ours)
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\ncat {tmp_path}/folders\n')
    docker.chmod(0o755)
    look = f"source scripts/lib.sh; ROOT={ours}; PATH={tmp_path}:$PATH; other_checkout"
    for folders, found in (
        ([], ""),
        ([ours, tmp_path / "link", tmp_path / "moved away"], ""),
        ([ours, other, other], f"{other}\n"),
    ):
        (tmp_path / "folders").write_text("".join(f"{folder}\n" for folder in folders))
        answered = run("bash", "-c", look, COMPOSE_PROJECT_NAME="")
        assert (answered.returncode, answered.stdout) == (0, found), answered.stderr
        assert "project=jelmore " in (tmp_path / "asked").read_text()
    stat = tmp_path / "stat"  # root may look into every folder
    stat.write_text("#!/bin/sh\necho \"stat: cannot statx '$1': Permission denied\" >&2\nexit 1\n")
    stat.chmod(0o755)
    (tmp_path / "folders").write_text(f"{ours}\n{tmp_path}/of somebody else\n")
    answered = run("bash", "-c", look, COMPOSE_PROJECT_NAME="")
    assert (answered.returncode, answered.stdout) == (0, f"{tmp_path}/of somebody else\n"), answered.stderr
    (ours / ".env").write_text("COMPOSE_PROJECT_NAME=second\n")
    run("bash", "-c", look, COMPOSE_PROJECT_NAME="")
    assert "project=second " in (tmp_path / "asked").read_text()


def test_an_environment_whose_making_was_cut_off_is_made_again(tmp_path: Path) -> None:
    """Killed before pip was there, it had none for good; killed later, pip took half a package for a whole one."""
    root = tmp_path / "a checkout with blanks and ümlauts"
    (root / "scripts").mkdir(parents=True)
    (root / "requirements").mkdir()
    for name in ("lib.sh", "python-env"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts")
    for name in ("manager", "embedded"):
        (root / "requirements" / f"{name}.txt").write_text("# nothing\n")

    def make(which: str) -> str:
        made = run(str(root / "scripts" / "python-env"), which, JELMORE_PYTHON=sys.executable)
        assert made.returncode == 0, made.stderr
        return made.stderr

    venv = root / ".venv"
    (venv / "bin").mkdir(parents=True)
    bare = f'#!/bin/sh\nexec {sys.executable} -S "$@"\n'  # as `python -m venv` leaves it before it installs pip
    (venv / "bin" / "python").write_text(bare)
    (venv / "bin" / "python").chmod(0o755)
    assert "making .venv with" in make("embedded")
    assert make("manager") == ""
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "half.py").write_text("")
    (venv / "jelmore-unfinished").write_text("embedded\n")
    assert "cut off: making .venv again" in make("manager")
    assert not (site / "half.py").exists()
    assert (venv / "jelmore-set").read_text().startswith("embedded ")
    assert not (venv / "jelmore-unfinished").exists()
    shown = run(str(venv / "bin" / "jelmore-server"), "--help")
    assert "No module named 'jelmore'" in shown.stderr or "No module named jelmore" in shown.stderr  # found, and empty
