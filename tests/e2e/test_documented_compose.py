"""The `docker compose` commands of the pages, typed as they are written, at a running deployment."""

import shlex
from pathlib import Path
from typing import Final

import pytest

from tests.promises.test_commands import COMMANDS
from tests.support.stack import ROOT, Stack, run
from tests.support.stack_client import Api
from tests.support.stack_compose import Compose

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(300)]

_NOT_HERE: Final = {
    "docker compose build": "`make up` builds, and has made this deployment",
    " restore ": "needs an empty machine; tests/integration/whole/test_backup.py restores",
    "--scale": "tests/chaos runs two managers",
    "pki/authorities": "needs JELMORE_TLS=internal; tests/integration/client/test_trust.py trusts such an authority",
}
TYPED: Final = [
    command
    for _, command in COMMANDS
    if command.startswith("docker compose ") and not any(words in command for words in _NOT_HERE)
]


@pytest.mark.parametrize("command", TYPED, ids=lambda text: text[15:75])
async def test_a_command_of_the_pages_works(compose: Stack, command: str, tmp_path: Path) -> None:
    assert isinstance(compose, Compose)
    tmp_path.chmod(0o777)
    command = command.replace("key …", "key list").replace("./backups:", f"{tmp_path}:")
    if "--session" in command:
        api = Api(compose)
        session_id = (await api.create())["id"]
        await api.close()
        command = f"{command.partition('--session')[0]}--session {session_id}"
    words = shlex.split(command)
    if words[2] in {"exec", "run"}:
        words.insert(3, "-T")
    printed = run(words, cwd=ROOT, env=compose.environment(), seconds=200)
    if " key create " in command:
        assert printed.strip().startswith("jlm_") or "jlm_" in printed
    if " backup " in command:
        assert (tmp_path / "jelmore-1.tar").stat().st_size > 10_000


def test_there_are_commands_to_type() -> None:
    assert len(TYPED) > 8
