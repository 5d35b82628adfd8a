"""Sessions that begin with local files, with the Python client and the `jelmore` command against a real API."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jelmore_client import InvalidRequestError
from tests.integration.api.world import World, world
from tests.integration.client.test_client import connect
from tests.integration.client.test_repositories import jelmore

pytestmark = pytest.mark.integration


@pytest.fixture
async def api() -> AsyncIterator[World]:
    async with world() as it:
        yield it


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "tool").write_text("#!/bin/sh\n")
    (folder / "src" / "tool").chmod(0o755)
    (folder / "src" / "link").symlink_to("tool")
    (folder / "notes.md").write_text("notes")
    return folder


async def test_a_create_takes_files_and_folders(api: World, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(local)
    async with connect(api) as client:
        session = await client.sessions.create(title="paths", files=["src", local / "notes.md"])
        folder = api.folders.folder(session.id)
        assert (session.info.title, (folder / "notes.md").read_text()) == ("paths", "notes")
        assert os.access(folder / "src" / "tool", os.X_OK)
        assert (folder / "src" / "link").readlink() == Path("tool")
        session = await client.sessions.create(files=Path())
        assert sorted(path.name for path in api.folders.folder(session.id).iterdir()) == ["notes.md", "src"]


async def test_a_create_takes_content_by_name_and_repeats_it(api: World, local: Path) -> None:
    async with connect(api) as client:
        files = {"a/b.txt": "text", 'c "d".bin': b"\x00\xff", "e": local / "src"}
        session = await client.sessions.create(files=files, idempotency_key="once")
        folder = api.folders.folder(session.id)
        assert (folder / "a" / "b.txt").read_text() == "text"
        assert (folder / 'c "d".bin').read_bytes() == b"\x00\xff"
        assert (folder / "e" / "tool").exists()
        assert (await client.sessions.create(files=files, idempotency_key="once")).id == session.id
        with pytest.raises(InvalidRequestError):
            await client.sessions.create(files={"a/b.txt": "other"}, idempotency_key="once")
        for name in ("../a", "/a"):
            with pytest.raises(InvalidRequestError, match="archive"):
                await client.sessions.create(files={name: "x"})
        with pytest.raises(FileNotFoundError):
            await client.sessions.create(files=["none"])
        assert len([each async for each in client.sessions.list()]) == 1


async def test_the_command_takes_files(api: World, local: Path) -> None:
    code, out, err = await jelmore(api, local, "run", "--detach", "--file", "src", "--file", "notes.md")
    assert code == 0, err
    folder = api.folders.folder(out.strip())
    assert sorted(path.name for path in folder.iterdir()) == ["notes.md", "src"]
    code, _, err = await jelmore(api, local, "run", "--detach", "--file", "none")
    assert (code, "--file" in err, "none" in err) == (2, True, True), err


async def test_a_folder_is_copied_as_cp_does(api: World, local: Path) -> None:
    """A folder goes into a target that exists, otherwise becomes it; its content only with `/.`."""
    _, out, _ = await jelmore(api, local, "run", "--detach")
    place, folder = out.strip(), api.folders.folder(out.strip())

    async def cp(*words: str) -> int:
        code, _, err = await jelmore(api, local, "cp", *words)
        assert (code, "Traceback" in err) in {(0, False), (1, False), (4, False)}, err
        return code

    assert await cp("src", f"{place}:") == 0
    assert await cp("src", f"{place}:new/name") == 0
    assert await cp("src/.", f"{place}:spread") == 0
    assert await cp("src", f"{place}:spread") == 0
    assert await cp("notes.md", f"{place}:src") == 0
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found >= {"src/tool", "new/name/tool", "spread/tool", "spread/src/tool", "src/notes.md"}
    assert await cp("src", f"{place}:src/notes.md") == 1
    assert await cp(".", f"{place}:") == 0
    assert (folder / "notes.md").exists()

    for _ in range(2):
        assert await cp(f"{place}:src", "back") == 0
    assert await cp(f"{place}:src/.", "content") == 0
    assert await cp(f"{place}:src/.", "content") == 0
    assert await cp(f"{place}:spread", ".") == 0
    assert await cp(f"{place}:none", ".") == 4
    assert await cp(f"{place}:src", "notes.md") == 1
    for path in ("back/tool", "back/src/tool", "content/tool", "spread/src/tool"):
        assert (local / path).is_file(), path
    assert not (local / "content" / "src").exists()
