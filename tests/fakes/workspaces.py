"""Workspaces in a folder of this machine, worked on by the helper itself: only the sandbox around it is missing."""

import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from jelmore.ports import ControlAddress, FileSandbox, WorkspaceAnswer
from jelmore.session.errors import WorkspaceLostError
from jelmore.session.workspace_answers import parsed_head
from tests.fakes.runners import FakeRunners

SOURCES = Path(__file__).parents[2] / "runner-image" / "src"


class FolderWorkspaces:
    """`WorkspaceHelpers` and `FileSandboxes` in one. `started` and `removed` record what the second was asked for."""

    def __init__(self, runners: FakeRunners) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="jw"))
        self._runners = runners
        self.started: list[UUID] = []
        self.removed: list[str] = []
        self.made: set[UUID] = set()

    def folder(self, session_id: UUID | str) -> Path:
        folder = self.root / str(session_id)
        folder.mkdir(exist_ok=True)
        return folder

    @asynccontextmanager
    async def call(
        self, at: ControlAddress, asked: Mapping[str, Any], body: AsyncIterator[bytes] | None = None
    ) -> AsyncIterator[WorkspaceAnswer]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "jelmore_runner.workspace",
            str(self.folder(at.session_id)),
            stdin=PIPE,
            stdout=PIPE,
            limit=8 * 1024 * 1024,  # of the first line
            env={"PYTHONPATH": str(SOURCES), "PATH": os.environ["PATH"], "HOME": f"{self.folder(at.session_id)}-home"},
        )
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            if body is not None:
                async for piece in body:
                    process.stdin.write(piece)
                    await process.stdin.drain()
            process.stdin.close()
            assert process.stdout is not None
            head = parsed_head(await process.stdout.readline())
            yield WorkspaceAnswer(head, _pieces(process.stdout))
        finally:
            if process.returncode is None and body is None:
                process.stdin.close()
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

    async def start(self, session_id: UUID, *, make: bool = False) -> FileSandbox:
        if make:
            self.made.add(session_id)
        elif session_id not in self.made and not (self.root / str(session_id)).exists():
            raise WorkspaceLostError(session_id)
        self.started.append(session_id)
        at = ControlAddress(f"unix:/fake/files/{len(self.started)}", session_id, 0)
        self._runners.add(at)
        return FileSandbox(f"files-{len(self.started)}", at)

    async def remove(self, sandbox_id: str) -> None:
        self.removed.append(sandbox_id)

    async def close(self) -> None:
        """Nothing to release."""


async def _pieces(content: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    while piece := await content.read(65536):
        yield piece
