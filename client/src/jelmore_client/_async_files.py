"""The files of a session's workspace, asynchronously."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from jelmore_client.core.problems import parse
from jelmore_client.core.requests import Request, session_path
from jelmore_client.models import FileEntry

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore

type ArchiveForm = Literal["tar", "tar.gz", "zip"]

type Progress = Callable[[int, int | None], None]
"""Called with the bytes that are transferred, and with how many there are; None when nobody knows."""

PIECE_BYTES: Final = 256 * 1024
TRANSFER_TIMEOUT_S: Final = 300.0
"""How long a transfer may make no progress."""


class AsyncFiles:
    """Reads and writes the workspace, also while the session sleeps or has ended. Paths are below the workspace."""

    def __init__(self, client: "AsyncJelmore", session_id: str) -> None:
        self._client = client
        self._session_id = session_id

    async def list(self, path: str = "") -> AsyncIterator[FileEntry]:
        """Yield the entries of a folder, by name. Raises NotFoundError."""
        after = ""
        while True:
            params = {"after": after} if after else {}
            found = parse((await self._client.send(Request("GET", self._path(path), params=params))).content)
            for entry in found["entries"]:
                yield FileEntry.read(entry)
            after = found.get("next") or ""
            if not after:
                return

    async def read(self, path: str) -> bytes:
        """Return the content of a file. It is held in memory: use `download` for large ones."""
        request = Request("GET", self._path(path), timeout_s=TRANSFER_TIMEOUT_S)
        return (await self._client.send(request)).content

    async def write(self, path: str, content: bytes | str, *, executable: bool = False) -> None:
        """Replace a file at once, or create it with its folders. May be repeated."""
        params = {"executable": "1"} if executable else {}
        data = content.encode() if isinstance(content, str) else content
        await self._client.send(
            Request("PUT", self._path(path), params=params, content=data, timeout_s=TRANSFER_TIMEOUT_S)
        )

    async def download(
        self, path: str, target: Path, *, archive: ArchiveForm | None = None, progress: Progress | None = None
    ) -> int:
        """Write a file, or a folder as an archive, to `target`; return its size. Memory is bounded.

        A file that is at `target` is replaced when the whole content has arrived: a failure leaves it unchanged.
        """
        params = {"archive": archive} if archive else {}
        return await self._client.save(Request("GET", self._path(path), params=params), target, progress)

    async def upload(
        self, source: Path, path: str, *, extract: ArchiveForm | None = None, progress: Progress | None = None
    ) -> None:
        """Write a local file to `path`, or unpack a local archive there. Memory is bounded."""
        params = {"extract": extract} if extract else {}
        size = source.stat().st_size
        with source.open("rb") as file:
            await self._client.send(
                Request(
                    "PUT",
                    self._path(path) if path.strip("/") else self._path("") + "/",
                    params=params,
                    headers={"Content-Length": str(size)},
                    content=_pieces(file, size, progress),
                    repeatable=False,
                    timeout_s=TRANSFER_TIMEOUT_S,
                )
            )

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        """Delete a file, an empty folder or, with `recursive`, any folder. Raises NotFoundError."""
        params = {"recursive": "1"} if recursive else {}
        await self._client.send(Request("DELETE", self._path(path), params=params, repeatable=False))

    def _path(self, path: str) -> str:
        return session_path(self._session_id, "files", *[part for part in path.split("/") if part])


async def _pieces(file: BinaryIO, size: int, progress: Progress | None) -> AsyncGenerator[bytes]:
    done = 0
    while piece := file.read(PIECE_BYTES):
        yield piece
        done += len(piece)
        if progress is not None:
            progress(done, size)
