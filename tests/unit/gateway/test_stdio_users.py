"""The users of stdio servers: everything of one is gone before its id is used again, and none is lost."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from jelmore_gateway.stdio.config import StdioServer
from jelmore_gateway.stdio.process import ProcessError, StdioProcess
from jelmore_gateway.stdio.users import Users


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a process as another user")
async def test_a_user_that_has_started_all_processes_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    user = 66_123
    bomb = await asyncio.create_subprocess_exec(
        "sleep", "60", user=user, group=user, extra_groups=[], start_new_session=True
    )
    start, refused = asyncio.create_subprocess_exec, [True]

    async def full(*command: str, **more: Any) -> Any:
        if refused and bomb.returncode is None:
            refused.pop()
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return await start(*command, **more)

    monkeypatch.setattr("asyncio.create_subprocess_exec", full)
    users = Users(user)
    assert users.take() == user
    await users.clear(user)
    assert await asyncio.wait_for(bomb.wait(), 5) == -9
    assert not refused
    assert users._taken == set()


async def test_without_room_for_a_folder_no_user_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    users = Users(66_123)
    with pytest.raises(ProcessError, match="mcp/x cannot be started"):
        await StdioProcess.start("x", StdioServer(command="/bin/cat"), {}, users)
    assert users._taken == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a process as another user")
async def test_what_a_server_leaves_beside_its_folder_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    for folder in (*tmp_path.parents, tmp_path):
        if folder.is_relative_to("/tmp/pytest-of-root"):
            folder.chmod(0o755)
    (tmp_path / "tmp").chmod(0o1777)
    (tmp_path / "tmp" / "of-another").write_text("x")
    makes = "mkdir -p ../a/b && echo x >../a/b/c && ln -s of-another ../link && echo x >/dev/shm/jelmore-left"
    server = StdioServer(command="/bin/sh", args=["-c", f"{makes}; echo done; cat"])
    process = await StdioProcess.start("x", server, {}, Users(66_200))
    async with asyncio.timeout(10):
        assert await anext(process.messages()) == b"done"
    left = Path("/dev/shm/jelmore-left")
    assert (tmp_path / "tmp" / "a" / "b" / "c").exists()
    assert left.exists()
    await process.end()
    assert [each.name for each in (tmp_path / "tmp").iterdir()] == ["of-another"]
    assert not left.exists()
