"""Content blocks of an input: texts, images and documents, in the form of the Messages API.

A block's data is sent inline (`base64`, `text`), or read by the runner from the session's volume (`file`). The runner
keeps larger data beside the journal and journals a reference to it (`attachment`), which later inputs may use again.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jelmore_protocol.bounds import Name
from jelmore_protocol.options import VolumePath

MAX_BLOCKS: Final = 20
MAX_INLINE_CHARACTERS: Final = 5 * 1024 * 1024
"""The bound of the inline data of one block: what fits into a frame or a request beside the rest."""

MAX_ATTACHMENT_BYTES: Final = 24 * 1024 * 1024
"""The bound of one file: in base64 it has to fit a line of Claude Code's input."""

IMAGE_TYPES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
ImageType = Literal["image/png", "image/jpeg", "image/gif", "image/webp"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64") from None
    return text


Base64 = Annotated[str, Field(min_length=1, max_length=MAX_INLINE_CHARACTERS), AfterValidator(_base64)]


class Base64Image(_Part):
    """An image, inline."""

    type: Literal["base64"]
    media_type: ImageType
    data: Base64


class Base64Document(_Part):
    """A PDF, inline."""

    type: Literal["base64"]
    media_type: Literal["application/pdf"]
    data: Base64


class TextDocument(_Part):
    """A text document, inline."""

    type: Literal["text"]
    media_type: Literal["text/plain"] = "text/plain"
    data: str = Field(min_length=1, max_length=MAX_INLINE_CHARACTERS)


class File(_Part):
    """A file of the session's workspace or home, as it is when the input arrives."""

    type: Literal["file"]
    path: VolumePath


class Attachment(_Part):
    """Data that the runner keeps. `id` is its SHA-256."""

    type: Literal["attachment"]
    id: str = Field(pattern=r"^[0-9a-f]{64}$")
    media_type: Literal["image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "text/plain"]
    bytes: int = Field(ge=1)


class TextBlock(_Part):
    """A text. Slash commands and `@path` count in it as in a plain input."""

    type: Literal["text"]
    text: str = Field(min_length=1)


class ImageBlock(_Part):
    """An image."""

    type: Literal["image"]
    source: Annotated[Base64Image | File | Attachment, Field(discriminator="type")]


class DocumentBlock(_Part):
    """A PDF or a text document."""

    type: Literal["document"]
    source: Annotated[Base64Document | TextDocument | File | Attachment, Field(discriminator="type")]
    title: Name | None = None


Block = Annotated[TextBlock | ImageBlock | DocumentBlock, Field(discriminator="type")]
Blocks = Annotated[list[Block], Field(min_length=1, max_length=MAX_BLOCKS)]


def text_of(blocks: Sequence[Block]) -> str:
    """Return the plain text that stands for the blocks where only a text is shown."""
    return "\n".join(_text(block) for block in blocks)


def _text(block: Block) -> str:
    match block:
        case TextBlock():
            return block.text
        case ImageBlock():
            return "[image]"
        case DocumentBlock():
            return f"[document: {block.title}]" if block.title else "[document]"
