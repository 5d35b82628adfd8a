"""The form of a create: what is not the content of a part has bounds too."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from jelmore.api.upload_parts import MAX_NAMES_BYTES, MultipartUpload
from jelmore.control.uploads import UploadError

FORM = "multipart/form-data; boundary=b"


async def pieces(*texts: bytes) -> AsyncIterator[bytes]:
    for text in texts:
        await asyncio.sleep(0)
        yield text


def a_file(name: str) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\nx\r\n'.encode()


async def read(*texts: bytes) -> int:
    upload = MultipartUpload(FORM, pieces(*texts))
    assert [piece async for piece in upload.session()] == []
    return len([part async for part in upload.parts()])


async def test_a_short_text_after_the_last_boundary_is_passed_over() -> None:
    assert await read(a_file("a"), b"--b--\r\n", b"rest" * 100) == 1


async def test_a_body_that_does_not_end_is_refused() -> None:
    with pytest.raises(UploadError, match="after its last boundary"):
        await read(a_file("a"), b"--b--\r\n", *[b"x" * 1024] * 100)


async def test_names_are_bounded_together() -> None:
    name = "n" * 4000
    most = MAX_NAMES_BYTES // 4004
    assert await read(*[a_file(f"{name}{number:04}") for number in range(most)], b"--b--\r\n") == most
    with pytest.raises(UploadError, match="too long together"):
        await read(*[a_file(f"{name}{number:04}") for number in range(most + 1)], b"--b--\r\n")
