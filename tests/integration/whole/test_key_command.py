"""A key that is revoked on the command line loses its open connections, also while no manager works."""

import os
import signal
import subprocess
import sys

import pytest

from tests.integration.whole.conftest import LocalStack
from tests.support.stack_client import Api, talk_to
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def key(running: LocalStack, database_url: str, *arguments: str, **others: str) -> str:
    """Return what the command prints."""
    settings = {
        **running.environment(),
        "JELMORE_RUN_DIR": str(running.run_dir),
        "DATABASE_URL": database_url,
        **others,
    }
    command = [sys.executable, "-m", "jelmore", "key", *arguments]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


async def test_a_revoked_key_is_cut_off_while_the_manager_is_away(running: LocalStack) -> None:
    database_url = running.database_url()
    text = key(running, database_url, "create", "--name", "leaver")
    admin, leaver = Api(running), Api(running)
    leaver.http.headers["X-API-Key"] = text
    created = await leaver.create()
    [key_id] = [each["id"] for each in (await admin.http.get("/api/v1/admin/keys")).json() if each["name"] == "leaver"]
    manager = running.pid("manager")
    assert manager is not None
    async with talk_to(created, after=0) as talk:
        await talk.frame(lambda frame: frame["type"] == "hello")
        os.kill(manager, signal.SIGSTOP)
        try:
            assert key(running, database_url, "revoke", "--id", key_id) == f"revoked {key_id}"
            await until(lambda: talk.code is not None, seconds=5, what="the end of the connection")
            assert talk.code == 4401
            async with talk_to(created, after=0) as again:
                await until(lambda: again.code is not None, seconds=5, what="the refusal of a new connection")
            assert again.code == 4401
            assert again.frames == []
        finally:
            os.kill(manager, signal.SIGCONT)
    await admin.close()
    await leaver.http.aclose()


async def test_the_command_says_which_runners_it_did_not_reach(running: LocalStack) -> None:
    database_url = running.database_url()
    admin = Api(running)
    await admin.create()
    key(running, database_url, "create", "--name", "elsewhere")
    keys = (await admin.http.get("/api/v1/admin/keys")).json()
    [key_id] = [each["id"] for each in keys if each["name"] == "elsewhere"]
    said = key(running, database_url, "revoke", "--id", key_id, JELMORE_RUN_DIR="/nonexistent/run")
    assert "not reached from here: the runners of 1 sessions" in said
    await admin.close()
