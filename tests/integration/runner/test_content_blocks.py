"""Images and documents of an input reach the model through the real Claude Code, over both sockets."""

import base64
import json
import struct
import zlib
from typing import Any

import pytest

from tests.integration.runner.harness import Runner
from tests.integration.runner.recording_model import RecordingModel

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("model")]


def png(size: int) -> bytes:
    """Return a picture of size by size that does not compress to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((x * y) % 251 for x in range(size * 3)) for y in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


def image(content: bytes) -> dict[str, Any]:
    data = base64.b64encode(content).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def blocks(model: RecordingModel, kind: str) -> list[dict[str, Any]]:
    """Return the blocks of this type in the newest request."""
    contents = [message["content"] for message in model.turns[-1]["messages"] if isinstance(message["content"], list)]
    return [block for content in contents for block in content if block.get("type") == kind]


async def test_images_and_documents_reach_the_model(runner: Runner, model: RecordingModel) -> None:
    folder = runner.folder / "session" / "workspace"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("CONTENT-OF-A-FILE")
    await runner.begin()
    large = png(120)
    content = [
        {"type": "text", "text": "demo> say seen"},
        image(png(4)),
        image(large),
        {"type": "document", "source": {"type": "text", "data": "CONTENT-INLINE"}, "title": "inline"},
        {"type": "document", "source": {"type": "file", "path": "notes.txt"}},
    ]
    async with runner.open() as client:
        await client.send(type="input", id="one", input=content)
        given = (await client.until_event("input"))["data"]
        assert "seen" in (await client.until_result("one"))["result"]
        assert given["input"] == "demo> say seen\n[image]\n[image]\n[document: inline]\n[document]"
        kinds = [block.get("source", {}).get("type") for block in given["content"]]
        assert kinds == [None, "base64", "attachment", "text", "attachment"]
        kept = given["content"][2]["source"]
        assert kept["bytes"] == len(large)
        assert (await runner.call(f"/attachments/{kept['id']}")).content == large
        assert (await runner.call(f"/attachments/{'0' * 64}")).status_code == 404
    assert len(blocks(model, "image")) == 2
    assert "CONTENT-OF-A-FILE" in model.text
    assert "CONTENT-INLINE" in model.text


async def test_a_queued_image_survives_a_restart(runner: Runner, model: RecordingModel) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="long", input="demo> words 400 50")
        await client.until(lambda frame: frame["type"] == "delta")
        queued = {"id": "two", "input": "text", "content": [image(png(120)), {"type": "text", "text": "demo> say two"}]}
        assert (await runner.call("/input", queued)).status_code == 200
    runner.kill()
    await runner.begin(generation=1)
    async with runner.open() as client:
        assert "two" in (await client.until_result("two"))["result"]
    assert len(blocks(model, "image")) == 1


async def test_a_block_that_cannot_be_used_is_refused_and_nothing_is_queued(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        bad = [{"type": "image", "source": {"type": "file", "path": "none.png"}}]
        await client.send(type="input", id="bad", input=bad)
        refused = await client.reply("bad")
        assert (refused["type"], refused["code"]) == ("error", "bad_frame")
        assert "input.0" in refused["message"]
        await client.send(type="input", id="odd", input=[{"type": "image", "source": {"type": "url", "url": "x"}}])
        assert (await client.until(lambda frame: frame["type"] == "error"))["code"] == "bad_frame"
    assert not [event for event in runner.events() if event["kind"] == "input"]
    assert json.loads((await runner.call("/health")).text)["queued_inputs"] == 0
