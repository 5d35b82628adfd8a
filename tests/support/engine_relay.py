"""A way to the engine that a test can cut, so that nobody else's engine has to be restarted."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

ENGINE_SOCKET: Final = Path(os.environ.get("TEST_ENGINE_SOCKET", "/var/run/docker.sock"))
"""Another engine can be tried with it, such as Podman's."""

OCI_RUNTIME: Final = os.environ.get("TEST_OCI_RUNTIME", "runc")
"""`runsc` tries the driver with gVisor, on an engine that knows it."""

RUNNER_IMAGE: Final = os.environ.get("TEST_RUNNER_IMAGE", "jelmore/runner:latest")
"""Another image of session containers can be tried with it. Then none is built."""


class EngineRelay:
    """A unix socket that leads to the engine's and can be cut. It works in the event loop of whoever calls `lead`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._copies: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """What `DOCKER_HOST` is to be."""
        return f"unix://{self.path}"

    async def lead(self) -> None:
        """Listen, until cut."""
        self._server = await asyncio.start_unix_server(self._join, str(self.path))

    async def cut(self) -> None:
        """Close everything; nobody listens any more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.path.unlink(missing_ok=True)
        for writer in [*self._open]:
            writer.close()
        for copy in [*self._copies]:
            copy.cancel()
        await asyncio.gather(*self._copies, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(str(ENGINE_SOCKET))
        self._open |= {writer, back}
        for source, target in ((reader, back), (there, writer)):
            copy = asyncio.create_task(self._copy(source, target), name="relay to the engine")
            self._copies.add(copy)
            copy.add_done_callback(self._copies.discard)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            target.close()
            self._open.discard(target)


async def _lead_for_ever(path: Path) -> None:
    await EngineRelay(path).lead()
    await asyncio.Event().wait()


if __name__ == "__main__":  # as a process of its own, which a test can stop: the engine then hangs
    asyncio.run(_lead_for_ever(Path(sys.argv[1])))
