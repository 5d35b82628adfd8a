"""File sandboxes on the engine: as locked down as a session's, apart from it, and gone afterwards."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from jelmore.drivers.docker_engine import DockerEngine
from jelmore.drivers.docker_file_sandboxes import DockerFileSandboxes
from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.drivers.paths import RunPaths
from jelmore.drivers.runner_link import RunnerLink
from jelmore.drivers.workspace_link import WorkspaceLink
from jelmore.ports import ControlAddress, FileSandbox, SandboxSpec
from jelmore.session.errors import ConflictError, DependencyError, InvalidRequestError, WorkspaceLostError
from jelmore.session.limits import Limits
from tests.integration.sandboxes.conftest import ENGINE, IMAGE, MakeSandboxes
from tests.support.waiting import joined, until

pytestmark = [pytest.mark.integration, pytest.mark.docker]


@pytest.fixture
def sandboxes(make: MakeSandboxes) -> DockerSandboxes:
    return make()


@pytest.fixture
async def files(sandboxes: DockerSandboxes, run_paths: RunPaths) -> AsyncIterator[DockerFileSandboxes]:
    made = DockerFileSandboxes(ENGINE, image=IMAGE, instance=sandboxes._instance, paths=run_paths)
    yield made
    await made.close()


async def _listens(at: ControlAddress) -> None:
    async def answers() -> bool:
        with suppress(DependencyError):
            await RunnerLink().health(at)
            return True
        return False

    await until(answers, seconds=30)


async def _call(
    at: ControlAddress, asked: Mapping[str, Any], body: bytes | None = None
) -> tuple[Mapping[str, Any], bytes]:
    async def pieces() -> AsyncIterator[bytes]:
        yield body or b""

    async with WorkspaceLink().call(at, asked, None if body is None else pieces()) as answer:
        return answer.head, await joined(answer.content)


async def test_a_volume_is_worked_on_beside_its_session_and_the_agent_owns_what_is_written(
    sandboxes: DockerSandboxes, files: DockerFileSandboxes, engine: DockerEngine, run_paths: RunPaths
) -> None:
    session_id = uuid4()
    with pytest.raises(WorkspaceLostError):
        await files.start(session_id)
    one = await files.start(session_id, make=True)
    try:
        await _listens(one.control)
        await _call(one.control, {"op": "put", "path": "a/b", "most_bytes": 100}, b"from a person")
        assert await sandboxes.observe(session_id) is None
        assert await sandboxes.found() == []
        assert await sandboxes.leftovers() == []
        inspected = await engine.call("GET", f"containers/{one.id}/json")
        assert inspected["HostConfig"]["NetworkMode"] == "none"
        assert inspected["HostConfig"]["ReadonlyRootfs"]
        assert {mount["Destination"] for mount in inspected["Mounts"]} == {"/session", "/jelmore/run"}
        await sandboxes.start(SandboxSpec(session_id, 1, Limits(512 * 2**20, 1.0, 256)))  # nothing is in its way
        sandbox = await sandboxes.observe(session_id)
        assert sandbox is not None
        assert sandbox.control is not None
        await _listens(sandbox.control)
        head, content = await _call(sandbox.control, {"op": "get", "path": "a/b"})
        assert (content, head["mode"]) == (b"from a person", 0o664)
        _, packed = await _call(sandbox.control, {"op": "archive", "path": "", "form": "tar"})
        with tarfile.open(fileobj=io.BytesIO(packed)) as opened:
            assert opened.getnames() == ["a", "a/b"]
        owner = await _run(sandbox.id, ["stat", "-c", "%U:%G", "/session/workspace/a/b"])
        assert b"agent:agent" in owner
    finally:
        await files.remove(one.id)
        await files.remove(one.id)
    assert one.control.text.split("/")[-2] not in run_paths.folders()


async def test_a_hostile_workspace_leads_a_reader_nowhere(
    sandboxes: DockerSandboxes, files: DockerFileSandboxes
) -> None:
    one = await files.start(uuid4(), make=True)
    try:
        await _listens(one.control)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as packed:
            info = tarfile.TarInfo("secret")
            info.type, info.linkname = tarfile.SYMTYPE, "/jelmore/run/secret"
            packed.addfile(info)
        with pytest.raises(InvalidRequestError, match="absolute"):
            await _call(
                one.control, {"op": "extract", "path": "", "form": "tar", "most_bytes": 10**6}, buffer.getvalue()
            )
        await _hostile_repository(one)
        with pytest.raises(ConflictError, match="link"):
            await _call(one.control, {"op": "get", "path": "out/secret"})
        head, _ = await _call(one.control, {"op": "commit", "message": "kept"})
        assert head["created"]
        with pytest.raises(InvalidRequestError):
            await _call(one.control, {"op": "get", "path": "../state/journal.jsonl"})
    finally:
        await files.remove(one.id)


async def _hostile_repository(one: FileSandbox) -> None:
    """Write what an agent may leave: a repository with a hook and a link, made with git's own plumbing files."""
    written = {
        ".git/HEAD": b"ref: refs/heads/main\n",
        ".git/config": b"[core]\n\trepositoryformatversion = 0\n\thooksPath = .git/hooks\n",
        ".git/objects/info/none": b"",
        ".git/refs/heads/.none": b"",
        ".git/hooks/pre-commit": b"#!/bin/sh\nexit 1\n",
        "file": b"content",
    }
    for path, content in written.items():
        await _call(one.control, {"op": "put", "path": path, "most_bytes": 10**6, "executable": True}, content)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        info = tarfile.TarInfo("out")
        info.type, info.linkname = tarfile.SYMTYPE, ".git"
        packed.addfile(info)
    await _call(one.control, {"op": "extract", "path": "", "form": "tar", "most_bytes": 10**6}, buffer.getvalue())


async def _run(container: str, command: list[str]) -> bytes:
    process = await asyncio.create_subprocess_exec(
        "docker", "exec", container, "/opt/jelmore/bin/agent", *command, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out
