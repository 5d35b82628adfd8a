"""The reading `curl` commands of the pages, typed as they are written, at a running installation."""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.integration.whole.conftest import LocalStack
from tests.promises.test_commands import COMMANDS

pytestmark = pytest.mark.integration

_NOT_HERE: Final = re.compile(r" -X (?!POST.*dry_run)|--json| -T | -d |/stream|\$start|\$SEQ|\{(?!status)")
"""Changes, streams without an end, and what needs more than a session with a few files."""

READS: Final = [command for _, command in COMMANDS if command.startswith("curl ") and not _NOT_HERE.search(command)]


@pytest.fixture(scope="module")
def session_id(running: LocalStack) -> str:
    """Return a session whose workspace has the files that the pages name."""
    files = "demo> run mkdir -p docs src; echo report | tee docs/report.md src/a.py"
    with running.client() as http:
        made = http.post("/api/v1/sessions", json={"permission_mode": "default", "allowed_tools": ["Bash"]}).json()
        done = http.post(f"/api/v1/sessions/{made['id']}/input?wait=60", json={"input": files}).json()
        assert done["result"]["is_error"] is False, done
    return str(made["id"])


@pytest.mark.parametrize("command", READS, ids=lambda text: text[-60:])
def test_a_command_of_the_pages_is_answered(running: LocalStack, session_id: str, command: str, tmp_path: Path) -> None:
    names = {"JELMORE_URL": running.url, "S": session_id, "SESSION_ID": session_id}
    keys = {"KEY": running.api_key, "JELMORE_API_KEY": running.api_key}
    typed = command.replace("curl", "curl --fail --silent --show-error --max-time 30", 1)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", typed],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **names, **keys},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout or [path for path in tmp_path.iterdir() if path.stat().st_size]


def test_there_are_commands_to_type() -> None:
    assert len(READS) > 10
