"""Creates with files: the session begins with all of them, or does not exist."""

import asyncio
import io
import tarfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from jelmore.ports import Role
from tests.integration.api.repository_parts import git, make_origin, repository_world
from tests.integration.api.world import World, world
from tests.support.git_server import git_server
from tests.support.waiting import until

pytestmark = pytest.mark.integration
SESSIONS = "/api/v1/sessions"

type Part = tuple[str, tuple[str | None, Any] | tuple[str | None, Any, str]]


def session(text: str = "{}") -> Part:
    return "session", (None, text, "application/json")


def file(name: str, content: bytes | str = b"x") -> Part:
    return "files", (name, content)


def tar(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as packed:  # type: ignore[call-overload]
        for info, content in members:
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, **more: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in more.items():
        setattr(info, field, value)
    return info


@pytest.fixture
async def made() -> AsyncIterator[World]:
    async with world() as it:
        yield it


@pytest.fixture
def erased(made: World, monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """Return the workspaces that are removed from now on."""
    found: list[UUID] = []
    erase = made.engine.erase

    async def recorded(session_id: UUID) -> None:
        found.append(session_id)
        await erase(session_id)

    monkeypatch.setattr(made.engine, "erase", recorded)
    return found


async def created(client: httpx.AsyncClient, *parts: Part, **more: Any) -> dict[str, Any]:
    answer = await client.post(SESSIONS, files=parts, **more)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_session_begins_with_its_files(made: World) -> None:
    archive = tar((member("lib/tool", mode=0o755), b"run"), (member("link", type=tarfile.SYMTYPE, linkname="lib"), b""))
    async with made.client(made.keys[Role.CLIENT]) as client:
        started = await created(
            client,
            session('{"title": "with files", "query": "read them"}'),
            file("src/main.py", b"print(1)\n"),
            file("notes/größe.txt", "größe"),
            ("archive", ("in.tgz", archive)),
            file("lib/tool", b"run again"),
            file("empty", b""),
        )
        assert (started["title"], started["query"]) == ("with files", "read them")
        folder = made.folders.folder(started["id"])
        assert (folder / "src/main.py").read_bytes() == b"print(1)\n"
        assert (folder / "notes/größe.txt").read_text() == "größe"
        assert (folder / "lib/tool").read_bytes() == b"run again", "a later part replaces an earlier one"
        assert (folder / "link").readlink() == Path("lib")
        assert (folder / "empty").read_bytes() == b""
        assert sorted(path.name for path in folder.iterdir()) == ["empty", "lib", "link", "notes", "src"]
        init = (await made.runner(started["id"])).init
        assert init is not None


async def test_the_json_is_optional_and_validated_as_without_files(made: World) -> None:
    async with made.client() as client:
        started = await created(client, file("a"))
        assert (made.folders.folder(started["id"]) / "a").read_bytes() == b"x"
        assert (await created(client, session()))["title"] is None
        for text, field in (
            ('{"limits": {"cpus": 0}}', "limits.cpus"),
            ('{"nonsense": 1}', "nonsense"),
            ('{"profile": "none"}', "profile"),
            ("{", ""),
        ):
            plain = await client.post(SESSIONS, content=text, headers={"Content-Type": "application/json"})
            answer = await client.post(SESSIONS, files=[session(text), file("a")])
            assert (answer.status_code, answer.json()["errors"]) == (422, plain.json()["errors"]), answer.text
            assert [each["field"] for each in answer.json()["errors"]] == [field]
        assert len((await client.get(SESSIONS)).json()) == 2


def _zip_of(name: str, content: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, content)
    return buffer.getvalue()


REFUSED: list[tuple[list[Part], int, str]] = [
    ([file("../out")], 422, "files"),
    ([file("/etc/passwd")], 422, "files"),
    ([file("a\\b")], 422, "files"),
    ([file("folder/")], 422, "files"),
    ([("files", (None, b"x"))], 422, "files"),
    ([file("a"), file("a")], 422, "files"),
    ([file("a"), file("a/b")], 422, "files"),
    ([file("a"), session()], 422, "session"),
    ([("other", ("a", b"x"))], 422, "other"),
    ([("archive", ("a.rar", b"x"))], 422, "archive"),
    ([("archive", ("a.zip", b"no zip"))], 422, "archive"),
    ([("archive", ("a.zip", _zip_of("a"))), ("archive", ("b.zip", _zip_of("b")))], 422, "archive"),
    ([("archive", ("a.zip", _zip_of("../a")))], 422, "archive"),
    ([("archive", ("a.tar.gz", tar((member("a", type=tarfile.LNKTYPE, linkname="b"), b""))))], 422, "archive"),
    ([("archive", ("a.tar.gz", tar((member("a", type=tarfile.SYMTYPE, linkname="../b"), b""))))], 422, "archive"),
    ([("archive", ("a.tar", tar((member("a", type=tarfile.CHRTYPE), b""), mode="w")))], 422, "archive"),
    ([("archive", ("a.zip", _zip_of("a", bytes(70 * 2**20))))], 413, ""),
    ([file("big", bytes(65 * 2**20))], 413, ""),
]


@pytest.mark.parametrize(("parts", "status", "field"), REFUSED)
async def test_what_is_refused_leaves_nothing(
    made: World, erased: list[UUID], parts: list[Part], status: int, field: str
) -> None:
    async with made.client() as client:
        answer = await client.post(SESSIONS, files=[session(), *parts])
        assert answer.status_code == status, answer.text
        if field:
            assert [each["field"] for each in answer.json()["errors"]] == [field], answer.text
        assert (await client.get(SESSIONS)).json() == []
    assert len(erased) == 1
    assert made.engine.sandboxes == {}


async def test_what_does_not_fit_into_the_workspace(made: World, erased: list[UUID]) -> None:
    body = session('{"limits": {"workspace_bytes": 33554432}}')
    parts = (file("a", bytes(20 * 2**20)), ("archive", ("b.zip", _zip_of("b", bytes(20 * 2**20)))))
    async with made.client() as client:
        answer = await client.post(SESSIONS, files=[body, *parts])
        assert (answer.status_code, answer.json()["code"]) == (507, "no_room"), answer.text
        assert (await client.get(SESSIONS)).json() == []
    assert len(erased) == 1


async def test_an_upload_that_breaks_off_leaves_nothing(made: World, erased: list[UUID]) -> None:
    head = (
        b"POST /api/v1/sessions HTTP/1.1\r\nHost: jelmore.test\r\nX-API-Key: %s\r\nContent-Length: 100000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc'
    )
    _, writer = await asyncio.open_unix_connection(made.socket_path)
    writer.write(head % made.keys[Role.ADMIN].encode())
    await writer.drain()
    await until(lambda: bool(made.folders.started))
    writer.close()
    await until(lambda: len(erased) == 1)
    async with made.client() as client:
        assert (await client.get(SESSIONS)).json() == []
        cut = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc\r\n--b'
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = await client.post(SESSIONS, content=cut, headers=headers)
        assert (answer.status_code, "last boundary" in answer.text) == (422, True), answer.text
        answer = await client.post(SESSIONS, content=cut, headers={"Content-Type": "multipart/form-data"})
        assert (answer.status_code, "boundary" in answer.text) == (422, True), answer.text
        assert (await client.get(SESSIONS)).json() == []


async def test_a_repeated_key_answers_with_the_first_session_if_the_content_is_the_same(made: World) -> None:
    async with made.client(made.keys[Role.CLIENT]) as client:
        key = {"Idempotency-Key": "once"}
        first = await created(client, session(), file("a", b"1"), headers=key)
        unpacked = len(made.folders.started)
        again = await client.post(SESSIONS, files=[session(), file("a", b"1")], headers=key)
        assert (again.status_code, again.json()["id"]) == (200, first["id"]), again.text
        assert again.headers["idempotency-replayed"] == "true"
        assert len(made.folders.started) == unpacked, "nothing is unpacked again"
        for other in ([session(), file("a", b"2")], [session(), file("b", b"1")], [session('{"title": "t"}')]):
            answer = await client.post(SESSIONS, files=other, headers=key)
            assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch"), answer.text
        assert (await client.post(SESSIONS, json={}, headers=key)).status_code == 422
        assert len((await client.get(SESSIONS)).json()) == 1


async def test_the_same_key_at_once_makes_one_session(made: World) -> None:
    async with made.client(made.keys[Role.CLIENT]) as client:

        async def create() -> str:
            answer = await client.post(SESSIONS, files=[file("a", b"1")], headers={"Idempotency-Key": "many"})
            assert answer.status_code in {200, 201}, answer.text
            return str(answer.json()["id"])

        assert len(set(await asyncio.gather(*(create() for _ in range(3))))) == 1
        assert len((await client.get(SESSIONS)).json()) == 1


async def test_memory_stays_bounded_and_only_a_create_takes_an_upload(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    call = made.folders.call

    def measured(at: Any, asked: Any, body: Any = None) -> Any:
        async def pieces() -> AsyncIterator[bytes]:
            async for piece in body:
                held.append(len(piece))
                yield piece

        return call(at, asked, pieces())

    monkeypatch.setattr(made.folders, "call", measured)
    async with made.client() as client:
        started = await created(client, session(), file("big", bytes(40 * 2**20)))
        assert (made.folders.folder(started["id"]) / "big").stat().st_size == 40 * 2**20
        assert max(held) < 2**20
        answer = await client.patch(f"{SESSIONS}/{started['id']}", files=[session('{"title": "x"}')])
        assert answer.status_code == 415, answer.text
    async with made.client(made.keys[Role.READONLY]) as reader:
        assert (await reader.post(SESSIONS, files=[file("a")])).status_code == 403
    async with made.client("") as stranger:
        assert (await stranger.post(SESSIONS, files=[file("a")])).status_code == 401


async def test_files_go_on_top_of_a_repository_and_of_a_base(tmp_path: Path) -> None:
    async with git_server(make_origin(tmp_path)) as host, repository_world(host) as it, it.client() as client:
        url = f"{host.url}/open/project.git"
        first = await created(
            client, session(f'{{"repository": {{"url": "{url}"}}}}'), file("code", b"mine"), file("b")
        )
        folder = it.folders.folder(first["id"])
        assert (folder / "code").read_bytes() == b"mine"
        assert git(folder, "status", "--porcelain") == "M code\n?? b"
        second = await created(client, session(f'{{"base": "{first["id"]}"}}'), file("c"))
        assert sorted(path.name for path in it.folders.folder(second["id"]).glob("?")) == ["b", "c"]
        bad = session('{"repository": {"url": "https://git.example.com/none.git"}}')
        assert (await client.post(SESSIONS, files=[bad, file("a")])).status_code in {422, 503}
        assert len((await client.get(SESSIONS)).json()) == 2
