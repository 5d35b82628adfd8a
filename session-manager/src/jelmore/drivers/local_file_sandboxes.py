"""`FileSandboxes` without an engine: a runner without a session, as a child of the manager."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

from jelmore.drivers.paths import RunPaths, new_key
from jelmore.ports import ControlAddress, FileSandbox
from jelmore.session.errors import DependencyError, WorkspaceLostError

_END_S: Final = 5.0


class LocalFileSandboxes:
    """The children of this manager. One whose manager died ends by itself."""

    def __init__(self, *, data_dir: Path, paths: RunPaths, search_path: str) -> None:
        self._root = data_dir / "local"
        self._paths = paths
        self._search_path = search_path
        self._running: dict[str, tuple[Process, str]] = {}

    async def start(self, session_id: UUID, *, make: bool = False) -> FileSandbox:
        """Start one more runner on the session's folder. With `make`, the folder is made if it is missing."""
        folder = self._root / str(session_id) / "session"
        try:
            if make:
                folder.mkdir(parents=True, exist_ok=True)
            if not folder.is_dir():
                raise WorkspaceLostError(session_id)
            self._paths.prepare()
            key = new_key()
            self._paths.make_folder(key)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-u",
                "-m",
                "jelmore_runner",
                env=self._environment(folder, self._paths.inner(key)),
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise DependencyError("local", f"cannot start a process for files: {error.strerror}") from None
        name = f"local-files-{key}"
        self._running[name] = process, key
        secret = self._paths.secret(key)
        return FileSandbox(name, ControlAddress(f"unix:{self._paths.control(key)}", session_id, 0, secret))

    def _environment(self, folder: Path, inner: Path) -> dict[str, str]:
        return {
            "JELMORE_RUNNER_CONTROL": f"unix:{inner}/control.sock",
            "JELMORE_RUNNER_PUBLIC": f"unix:{inner}/runner.sock",
            "JELMORE_RUNNER_SECRET_FILE": f"{inner}/secret",
            "JELMORE_RUNNER_GATEWAY": f"unix:{inner}/none.sock",
            # With a slash at its end it is not the text by which the session's own processes are found and ended.
            "JELMORE_RUNNER_SESSION_DIR": f"{folder}/",
            "JELMORE_RUNNER_FILES_ONLY": "1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PATH": self._search_path,
        }

    async def remove(self, sandbox_id: str) -> None:
        """End the process and remove its sockets. Absent is success."""
        process, key = self._running.get(sandbox_id, (None, ""))
        if process is None:
            return
        for end in (process.terminate, process.kill):
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    end()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_END_S):
                        await process.wait()
        self._paths.clear_folder(key)
        self._running.pop(sandbox_id, None)

    async def close(self) -> None:
        """End all of them."""
        for sandbox_id in list(self._running):
            await self.remove(sandbox_id)
