"""Files over the API, with the real helper on a real folder."""

import asyncio
import io
import tarfile
import zipfile
from collections.abc import AsyncIterator
from urllib.parse import quote, unquote

import httpx
import pytest

from jelmore.ports import Role
from tests.integration.api.world import World, world

pytestmark = pytest.mark.integration
BASE = "/api/v1/sessions"


@pytest.fixture
async def made() -> AsyncIterator[World]:
    async with world() as it:
        yield it


async def _session(client: httpx.AsyncClient, **body: object) -> str:
    answer = await client.post(BASE, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_a_file_goes_in_and_out(made: World) -> None:
    async with made.client() as client:
        files = f"{BASE}/{await _session(client)}/files"
        new = await client.put(f"{files}/src/main.py", content=b"print(1)\n")
        assert (new.status_code, new.json()["size"]) == (201, 9), new.text
        got = await client.get(f"{files}/src/main.py")
        assert (got.content, got.headers["etag"]) == (b"print(1)\n", new.headers["etag"])
        assert got.headers["content-length"] == "9"
        assert "sandbox" in got.headers["content-security-policy"]
        part = await client.get(f"{files}/src/main.py", headers={"Range": "bytes=6-6"})
        assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"1", "bytes 6-6/9")
        assert (await client.get(f"{files}/src/main.py", headers={"Range": "bytes=90-"})).status_code == 416
        same = await client.get(f"{files}/src/main.py", headers={"If-None-Match": new.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        head = await client.head(f"{files}/src/main.py")
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "9", b"")
        stale = await client.put(f"{files}/src/main.py", content=b"x", headers={"If-Match": '"old"'})
        assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
        listed = (await client.get(files)).json()
        assert [(each["name"], each["type"]) for each in listed["entries"]] == [("src", "directory")]
        assert (await client.delete(f"{files}/src")).status_code == 409
        assert (await client.delete(f"{files}/src", params={"recursive": "1"})).status_code == 204
        assert (await client.get(f"{files}/src/main.py")).status_code == 404


@pytest.mark.parametrize(
    "name", ["new%0Aline", "ends%0A", "%0A", "d%0A/f", "%C3%A9", "e%CC%81", "q%22%5C%3F%23%25", "a" * 255]
)
async def test_a_file_may_have_any_name(made: World, name: str) -> None:
    async with made.client() as client:
        files = f"{BASE}/{await _session(client)}/files"
        written = await client.put(f"{files}/{name}", content=name.encode())
        assert written.status_code == 201, written.text
        assert (await client.get(f"{files}/{name}")).text == name
        folder, _, last = unquote(name).rpartition("/")
        listed = (await client.get(f"{files}/{quote(folder)}")).json()["entries"]
        assert [each["name"] for each in listed] == [last]
        assert (await client.delete(f"{files}/{name}")).status_code == 204
        assert (await client.get(f"{files}/{name}")).status_code == 404


async def test_a_name_that_is_no_text_is_listed_with_how_to_write_it(made: World) -> None:
    async with made.client() as client:
        files = f"{BASE}/{await _session(client)}/files"
        for name in ("%FF%FE.txt", "d%C3/%E9", "plain", "%EF%BF%BD"):
            written = await client.put(f"{files}/{name}", content=name.encode())
            assert written.status_code == 201, written.text
        assert written.json()["path"] == "\ufffd"
        entries = (await client.get(files)).json()["entries"]
        shown = [("d\ufffd", "d%C3"), ("plain", None), ("\ufffd\ufffd.txt", "%FF%FE.txt"), ("\ufffd", None)]
        assert [(each["name"], each.get("encoded")) for each in entries] == shown
        assert (await client.get(f"{files}/d%C3")).json()["path"] == "d\ufffd"
        assert (await client.get(f"{files}/%FF%FE.txt")).text == "%FF%FE.txt"
        assert (await client.head(f"{files}/d%C3/%E9")).headers["content-length"] == "8"
        assert (await client.get(f"{files}/%EF%BF%BD")).text == "%EF%BF%BD"
        seen: list[str] = []
        page = {"entries": [], "next": ""}
        while page.get("next") is not None:
            page = (await client.get(files, params={"limit": 1, "after": page["next"]})).json()
            seen += [each["name"] for each in page["entries"]]
        assert seen == [name for name, _ in shown]
        packed = await client.get(f"{files}/d%C3", params={"archive": "zip"})
        assert zipfile.ZipFile(io.BytesIO(packed.content)).namelist() == ["\ufffd"]
        refused = await client.delete(f"{files}/d%C3")
        assert (refused.status_code, "d\ufffd" in refused.json()["detail"]) == (409, True), refused.text
        assert (await client.delete(f"{files}/d%C3?recursive=1")).status_code == 204
        assert (await client.delete(f"{files}/%FF%FE.txt")).status_code == 204
        assert (await client.get(f"{files}/%FF%FE.txt")).status_code == 404


async def test_who_sends_all_of_a_refused_upload_first_reads_the_refusal(made: World) -> None:
    sent = 48 * 1024 * 1024  # beyond what is read before the response
    reader, writer = await asyncio.open_unix_connection(made.socket_path)
    path = f"{BASE}/00000000-0000-0000-0000-000000000000/files/big"
    head = f"PUT {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {sent}\r\n\r\n"
    try:
        async with asyncio.timeout(30):
            writer.write(head.encode())
            for _ in range(sent // 65536):
                writer.write(b"x" * 65536)
                await writer.drain()
            assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
    finally:
        writer.transport.abort()


async def test_who_asks_first_is_refused_without_an_upload(made: World) -> None:
    reader, writer = await asyncio.open_unix_connection(made.socket_path)
    path = f"{BASE}/00000000-0000-0000-0000-000000000000/files/big"
    head = f"PUT {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
    try:
        writer.write(head.encode())
        async with asyncio.timeout(4):
            assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
            assert b"x-request-id" in (await reader.read())
    finally:
        writer.transport.abort()


async def test_a_path_that_ends_as_that_of_a_folder_is_not_written_as_a_file(made: World) -> None:
    async with made.client() as client:
        files = f"{BASE}/{await _session(client)}/files"
        refused = await client.put(f"{files}/name/", content=b"x")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "path")
        assert (await client.get(files)).json()["entries"] == []


async def test_a_name_that_no_file_can_have_is_refused_as_the_path(made: World) -> None:
    async with made.client() as client:
        files = f"{BASE}/{await _session(client)}/files"
        for name in ("a" * 256, "d/" + "%C3%A9" * 128):
            for call in (client.get(f"{files}/{name}"), client.put(f"{files}/{name}", content=b"x")):
                refused = await call
                assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "path"), refused.text
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("a" * 256))
        refused = await client.put(f"{files}/x?extract=tar", content=packed.getvalue())
        assert (refused.status_code, "more than 255 bytes" in refused.json()["detail"]) == (422, True), refused.text


async def test_archives_go_in_and_out(made: World) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        info = tarfile.TarInfo("a/b.txt")
        info.size = 5
        packed.addfile(info, io.BytesIO(b"hello"))
    async with made.client() as client:
        files = f"{BASE}/{await _session(client)}/files"
        inside = await client.put(f"{files}/in", params={"extract": "tar.gz"}, content=buffer.getvalue())
        assert (inside.status_code, inside.json()) == (200, {"path": "in", "entries": 1, "bytes": 5}), inside.text
        out = await client.get(f"{files}/in", params={"archive": "tar.gz"})
        with tarfile.open(fileobj=io.BytesIO(out.content)) as packed:
            assert packed.getnames() == ["a", "a/b.txt"]
        bad = await client.put(f"{files}/in", params={"extract": "zip"}, content=b"no zip")
        assert (bad.status_code, bad.json()["code"]) == (422, "invalid")


async def test_what_does_not_fit_is_refused_before_and_while_it_arrives(made: World) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield bytes(2**20)

    async with made.client() as client:
        session = await _session(client)
        files = f"{BASE}/{session}/files"
        declared = await client.put(f"{files}/big", content=bytes(65 * 2**20))
        assert (declared.status_code, declared.json()["code"]) == (413, "too_large")
        streamed = await client.put(f"{files}/big", content=pieces())
        assert (streamed.status_code, streamed.json()["code"]) == (413, "too_large")
        assert (await client.get(files)).json()["entries"] == []


async def test_a_workspace_is_read_and_written_after_the_end(made: World) -> None:
    async with made.client() as client:
        session = await _session(client)
        before = (await client.get(f"{BASE}/{session}")).json()["last_activity"]
        await client.put(f"{BASE}/{session}/files/kept", content=b"kept")
        assert (await client.get(f"{BASE}/{session}")).json()["last_activity"] == before
        assert made.folders.started == []
        await client.delete(f"{BASE}/{session}")
        assert (await client.get(f"{BASE}/{session}/files/kept")).content == b"kept"
        assert (await client.put(f"{BASE}/{session}/files/more", content=b"more")).status_code == 201
        assert len(made.folders.started) == 1, "calls that follow each other share a sandbox"


async def test_strangers_and_readers_are_kept_out(made: World) -> None:
    async with made.client() as client, made.client(made.other_key) as other:
        files = f"{BASE}/{await _session(client)}/files"
        assert (await other.get(files)).status_code == 404
        assert (await other.put(f"{files}/x", content=b"x")).status_code == 404
        async with made.client(made.keys[Role.READONLY]) as reader:
            assert (await reader.get(files)).status_code == 200
            assert (await reader.put(f"{files}/x", content=b"x")).status_code == 403
        async with made.client("") as nobody:
            assert (await nobody.put(f"{files}/x", content=b"x")).status_code == 401
