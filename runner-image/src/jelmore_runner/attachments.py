"""Keeps the large data of inputs beside the journal, by its digest, and gives it back when the agent gets the input.

So a journal line stays small, a queued input survives a restart, and the same image sent twice is kept once.
"""

import base64
import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from jelmore_protocol.content import (
    IMAGE_TYPES,
    MAX_ATTACHMENT_BYTES,
    Attachment,
    Base64Document,
    Base64Image,
    Block,
    DocumentBlock,
    File,
    ImageBlock,
    TextBlock,
    TextDocument,
)
from jelmore_protocol.frames import ErrorCode
from jelmore_runner.errors import RefusedError
from jelmore_runner.safe_files import read_file_below

INLINE_CHARACTERS: Final = 16 * 1024
"""Data up to this size stays in the journal."""

_TYPES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".pdf": "application/pdf",
}


class Attachments:
    """The kept data of one session. All methods block: call them in a thread."""

    def __init__(self, folder: Path, place: Callable[[str], tuple[Path, PurePath]]) -> None:
        """Keep data in `folder`. `place` splits a path of the volume into a root and the rest."""
        self._folder = folder
        self._place = place

    def keep(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks with references in place of files and of large data. May run twice.

        Raises RefusedError for a file or reference that cannot be read, OSError when the disk does not take the data.
        """
        return [self._kept(index, block) for index, block in enumerate(blocks)]

    def _kept(self, index: int, block: Block) -> Block:
        if isinstance(block, TextBlock):
            return block
        source = block.source
        match source:
            case File():
                content, media_type = self._read(index, source.path)
            case Attachment():
                if self.read(source.id) is None:
                    raise _refused(index, f"there is no attachment {source.id}")
                return _checked(index, block, source.media_type)
            case TextDocument():
                content, media_type = source.data.encode("utf-8", "replace"), source.media_type
            case Base64Image() | Base64Document():
                content, media_type = base64.b64decode(source.data), source.media_type
        if not isinstance(source, File) and len(source.data) <= INLINE_CHARACTERS:
            return block
        kept = Attachment(type="attachment", id=self._store(content), media_type=media_type, bytes=len(content))
        return _checked(index, block.model_copy(update={"source": kept}), media_type)

    def api_blocks(self, blocks: Sequence[Block]) -> list[dict[str, Any]]:
        """Return the blocks in the form of the Messages API, with their data. A text stands for what is gone."""
        return [self._api_block(block) for block in blocks]

    def _api_block(self, block: Block) -> dict[str, Any]:
        if isinstance(block, TextBlock) or not isinstance(block.source, Attachment):
            return block.model_dump(exclude_none=True)
        content = self.read(block.source.id)
        if content is None:
            return {"type": "text", "text": f"[the attachment {block.source.id} is gone]"}
        if block.source.media_type == "text/plain":
            source = {"type": "text", "media_type": "text/plain", "data": content.decode("utf-8", "replace")}
        else:
            data = base64.b64encode(content).decode()
            source = {"type": "base64", "media_type": block.source.media_type, "data": data}
        return {**block.model_dump(exclude_none=True), "source": source}

    def read(self, digest: str) -> bytes | None:
        """Return kept data, None if there is none."""
        return read_file_below(self._folder, PurePath(digest), MAX_ATTACHMENT_BYTES) if self._folder.is_dir() else None

    def _read(self, index: int, path: str) -> tuple[bytes, str]:
        root, rest = self._place(path)
        content = read_file_below(root, rest, MAX_ATTACHMENT_BYTES + 1)
        if not content:
            raise _refused(index, f"{path} is no file that can be read, or is empty")
        if len(content) > MAX_ATTACHMENT_BYTES:
            raise RefusedError(
                ErrorCode.INPUT_TOO_LARGE, f"input.{index}: a file has at most {MAX_ATTACHMENT_BYTES} bytes"
            )
        return content, _TYPES.get(PurePath(path).suffix.lower(), "text/plain")

    def _store(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        path = self._folder / digest
        if path.exists():
            return digest
        self._folder.mkdir(mode=0o700, exist_ok=True)
        temporary = self._folder / f".{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        return digest


def _checked(index: int, block: Block, media_type: str) -> Block:
    """Return the block. Raises RefusedError if its data is of the other kind: the model would refuse the whole turn."""
    is_image = media_type in IMAGE_TYPES
    if isinstance(block, ImageBlock) and not is_image:
        raise _refused(index, f"is {media_type}, which is no image")
    if isinstance(block, DocumentBlock) and is_image:
        raise _refused(index, f"is {media_type}: send it as an image")
    return block


def _refused(index: int, why: str) -> RefusedError:
    return RefusedError(ErrorCode.BAD_FRAME, f"input.{index}: {why}")
