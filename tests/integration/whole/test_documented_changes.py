"""The changing `curl` commands of the pages, typed as they are written, each at a session of its own."""

import json
import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.integration.whole.conftest import LocalStack
from tests.integration.whole.test_documented_commands import READS
from tests.promises.test_commands import COMMANDS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

_ELSEWHERE: Final = {
    "https://git.example.com": "tests/e2e/test_repository.py fetches from a server of its own",
    "/push": "tests/integration/api/test_repository_push.py pushes to a server of its own",
    "https://example.com/jelmore": "the name has no address here; tests/integration/api/test_webhooks.py",
}
"""What needs another host, and where it is tested."""

CHANGES: Final = [
    command
    for _, command in COMMANDS
    if command.startswith("curl ") and command not in READS and not any(words in command for words in _ELSEWHERE)
]
_STREAM: Final = re.compile(r"\bcurl -N\b")
_TIMED_OUT: Final = 28


class PreparedSession:
    """A session in the state that a command needs, and the words that stand for parts of it in the pages."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        made = self._post("/api/v1/sessions", {"permission_mode": "default", "allowed_tools": ["Bash"]})
        self.id: str = made["id"]
        self.names: dict[str, str] = {"S": self.id, "ID": self.id, "SESSION_ID": self.id}
        self.words: dict[str, str] = {}

    def with_repository(self) -> None:
        """Commit a file in the workspace, then another one since `start`, and leave a third that is not committed."""
        git = "git -c user.name=a -c user.email=a@example.com"
        self._run(
            f"mkdir -p docs; echo a > docs/a; git init -q . && git add . && {git} commit -qm one; echo b > docs/b"
        )
        diff = self._http.get(f"/api/v1/sessions/{self.id}/diff").json()
        self.names["start"] = diff["base"]
        self._run(f"{git} add . && {git} commit -qm two; echo c > docs/c")

    def with_permission(self) -> None:
        """Let the agent wait for a permission."""
        self._post(f"/api/v1/sessions/{self.id}/input", {"input": "demo> write asked.txt text"}, wait=30)
        [pending] = self._http.get(f"/api/v1/sessions/{self.id}/permissions").json()["pending"]
        self.names["REQUEST"] = self.words["{request_id}"] = pending["request_id"]

    def with_turn(self) -> None:
        """Run a turn, so that there is something to fork."""
        self._run("echo once")
        session = self._http.get(f"/api/v1/sessions/{self.id}").json()
        self.words["120"] = str(session["output_buffer_size"])

    def with_prompts(self) -> None:
        """Run two turns, the second of which can be taken back."""
        self._run("echo one | tee one.txt")
        self._run("echo two | tee two.txt")
        outputs = self._http.get(f"/api/v1/sessions/{self.id}/output", params={"limit": 1000}).json()
        self.names["SEQ"] = str(max(each["seq"] for each in outputs if each["kind"] == "input"))

    def ended(self) -> None:
        """End the session."""
        assert self._http.delete(f"/api/v1/sessions/{self.id}").status_code == 200

    def without_volume(self, folder: Path) -> None:
        """End the session and lose its volume."""
        self.with_turn()
        self.ended()
        subprocess.run(["rm", "-rf", str(folder / "local" / self.id)], check=True, timeout=10)

    def with_invite(self) -> None:
        """Make an invite."""
        self.words["jli_…"] = self._post(f"/api/v1/sessions/{self.id}/invites", {"role": "viewer"})["invite"]

    def with_key(self) -> None:
        """Make another key."""
        self.words["{key_id}"] = self._post("/api/v1/admin/keys", {"name": "old", "role": "client"})["id"]

    def _run(self, command: str) -> None:
        done = self._post(f"/api/v1/sessions/{self.id}/input", {"input": f"demo> run {command}"}, wait=60)
        assert done["result"]["is_error"] is False, done

    def _post(self, path: str, body: Mapping[str, Any], wait: int | None = None) -> Any:
        answer = self._http.post(path, json=body, params={} if wait is None else {"wait": wait})
        assert answer.status_code < 300, answer.text
        return answer.json()


def prepare(prepared: PreparedSession, command: str, stack: LocalStack) -> None:
    """Bring about what the page presupposes."""
    needs: dict[str, Callable[[], None]] = {
        "/permissions/": prepared.with_permission,
        "$start": prepared.with_repository,
        "$SEQ": prepared.with_prompts,
        "/commit": prepared.with_repository,
        "files/docs?": prepared.with_repository,
        '"base"': prepared.with_repository,
        "/fork": prepared.with_turn,
        "/resume?workspace=new": lambda: prepared.without_volume(stack.folder / "data"),
        "/resume": prepared.ended,
        "invites/accept": prepared.with_invite,
        "/rotate": prepared.with_key,
    }
    for words, need in needs.items():
        if words in command:
            need()
            return


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files that the pages upload."""
    for name in ("data.csv", "may.csv", "june.csv", "report.md"):
        (tmp_path / name).write_text("1,2,3\n")
    with tarfile.open(tmp_path / "project.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "report.md", "project/report.md")
    return tmp_path


@pytest.mark.parametrize("command", CHANGES, ids=lambda text: text[-60:])
def test_a_command_of_the_pages_does_what_it_says(running: LocalStack, folder: Path, command: str) -> None:
    with running.client() as http:
        prepared = PreparedSession(http)
        prepare(prepared, command, running)
        for words, meant in prepared.words.items():
            command = command.replace(words, meant)
        most_s = 3 if _STREAM.search(command) else 60
        typed = command.replace("curl", f"curl --fail-with-body --silent --show-error --max-time {most_s}", 1)
        keys = {"KEY": running.api_key, "JELMORE_API_KEY": running.api_key, "JELMORE_URL": running.url}
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", typed],
            cwd=folder,
            env={"PATH": os.environ["PATH"], **prepared.names, **keys},
            capture_output=True,
            timeout=90,
            check=False,
        )
        assert done.returncode in {0, *([_TIMED_OUT] if most_s == 3 else [])}, (done.stdout + done.stderr).decode()
        assert done.stdout or "DELETE" in command or (folder / "work.bundle").exists()
        if done.stdout.startswith(b'{"id"'):
            http.delete(f"/api/v1/sessions/{json.loads(done.stdout)['id']}")
        http.delete(f"/api/v1/sessions/{prepared.id}")
        http.delete("/api/v1/admin/drain")


def test_there_are_commands_to_type() -> None:
    assert len(CHANGES) > 20
