"""Large data of inputs is kept once, by reference; nothing outside of the session is read."""

import base64
from pathlib import Path, PurePath
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from jelmore_protocol.content import MAX_INLINE_CHARACTERS, Attachment, Block, Blocks, text_of
from jelmore_runner.attachments import INLINE_CHARACTERS, Attachments
from jelmore_runner.errors import RefusedError

BLOCKS: TypeAdapter[list[Block]] = TypeAdapter(Blocks)
SMALL = base64.b64encode(b"small").decode()
LARGE = base64.b64encode(b"x" * INLINE_CHARACTERS).decode()


def image(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


def document(**source: Any) -> dict[str, Any]:
    return {"type": "document", "source": source}


@pytest.fixture
def attachments(tmp_path: Path) -> Attachments:
    (tmp_path / "workspace").mkdir()
    return Attachments(tmp_path / "kept", lambda path: (tmp_path / "workspace", PurePath(path)))


def test_small_data_stays_and_large_data_is_kept_once(attachments: Attachments, tmp_path: Path) -> None:
    small = image(type="base64", media_type="image/png", data=SMALL)
    large = image(type="base64", media_type="image/png", data=LARGE)
    kept = attachments.keep(BLOCKS.validate_python([small, large, large, {"type": "text", "text": "look"}]))
    assert kept[0].model_dump(exclude_none=True) == small
    references = [block.source for block in kept[1:3] if block.type == "image"]
    assert all(isinstance(each, Attachment) and each.bytes == INLINE_CHARACTERS for each in references)
    assert len(list((tmp_path / "kept").iterdir())) == 1
    assert attachments.keep(kept) == kept, "it may run twice"
    assert attachments.api_blocks(kept)[:2] == [small, large]
    assert text_of(kept) == "[image]\n[image]\n[image]\nlook"


def test_a_file_is_kept_in_its_current_state(attachments: Attachments, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "notes.md").write_text("first")
    (workspace / "page.pdf").write_bytes(b"%PDF")
    blocks = [document(type="file", path="notes.md"), document(type="file", path="page.pdf")]
    kept = attachments.keep(BLOCKS.validate_python(blocks))
    (workspace / "notes.md").write_text("second")
    text, pdf = attachments.api_blocks(kept)
    assert text["source"] == {"type": "text", "media_type": "text/plain", "data": "first"}
    assert (pdf["source"]["media_type"], pdf["source"]["type"]) == ("application/pdf", "base64")


REFUSED: list[tuple[dict[str, Any], str]] = [
    (document(type="file", path="none.txt"), "no file that can be read"),
    (document(type="file", path="link"), "no file that can be read"),
    (image(type="file", path="notes.md"), "no image"),
    (document(type="file", path="photo.png"), "send it as an image"),
    (image(type="attachment", id="0" * 64, media_type="image/png", bytes=1), "there is no attachment"),
]


@pytest.mark.parametrize(("block", "why"), REFUSED)
def test_what_cannot_be_used_is_refused_by_place(
    attachments: Attachments, tmp_path: Path, block: dict[str, Any], why: str
) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "notes.md").write_text("text")
    (workspace / "photo.png").write_bytes(b"png")
    (tmp_path / "secret").write_text("secret")
    (workspace / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(RefusedError, match=why) as caught:
        attachments.keep(BLOCKS.validate_python([{"type": "text", "text": "x"}, block]))
    assert str(caught.value).startswith("input.1: ")


def test_what_is_gone_becomes_a_text(attachments: Attachments, tmp_path: Path) -> None:
    kept = attachments.keep(BLOCKS.validate_python([image(type="base64", media_type="image/png", data=LARGE)]))
    for path in (tmp_path / "kept").iterdir():
        path.unlink()
    (block,) = attachments.api_blocks(kept)
    assert block["type"] == "text"
    assert "is gone" in block["text"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "video"},
        {"type": "text", "text": ""},
        image(type="base64", media_type="image/tiff", data=SMALL),
        image(type="base64", media_type="image/png", data="not base64!"),
        image(type="base64", media_type="image/png", data="A" * (MAX_INLINE_CHARACTERS + 4)),
        image(type="file", path="/etc/passwd"),
        image(type="file", path="../state/journal.jsonl"),
        document(type="attachment", id="../journal.jsonl", media_type="text/plain", bytes=1),
    ],
)
def test_a_malformed_block_is_refused(block: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BLOCKS.validate_python([block])
