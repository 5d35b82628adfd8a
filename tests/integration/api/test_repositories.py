"""The repository of a workspace over the API: a person brings one in, and takes what was made of it out."""

import io
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.integration.api.world import World, world

pytestmark = pytest.mark.integration
BASE = "/api/v1/sessions"


@pytest.fixture
async def made() -> AsyncIterator[World]:
    async with world() as it:
        yield it


def git(folder: Path, *words: str) -> str:
    identity = {f"GIT_{who}_{what}": "p@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **identity}
    done = subprocess.run(["git", *words], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The person's own repository."""
    folder = tmp_path / "own"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "kept").write_text("kept\n")
    (folder / "changed").write_text("one\ntwo\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


async def _brought_in(client: httpx.AsyncClient, own: Path) -> str:
    session = (await client.post(BASE, json={})).json()["id"]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        packed.add(own, arcname=".")
    url = f"{BASE}/{session}"
    put = await client.put(f"{url}/files/", params={"extract": "tar.gz"}, content=buffer.getvalue())
    assert put.status_code == 200, put.text
    return url


async def test_a_person_brings_a_repository_in_and_takes_a_branch_out(made: World, own: Path) -> None:
    first = git(own, "rev-parse", "HEAD").strip()
    async with made.client() as client:
        url = await _brought_in(client, own)
        await client.put(f"{url}/files/changed", content=b"one\n2\n")
        await client.put(f"{url}/files/new", content=b"new\n")
        body = {"message": "second", "author": {"name": "Ann", "email": "ann@example.org"}}
        commit = (await client.post(f"{url}/commit", json=body)).json()
        assert commit["created"]
        again = (await client.post(f"{url}/commit", json={"message": "third"})).json()
        assert again == {"commit": commit["commit"], "created": False}
        bundle = await client.get(f"{url}/bundle", params={"from": first})
        (own.parent / "work.bundle").write_bytes(bundle.content)
        assert (await client.get(f"{url}/bundle", params={"from": "HEAD"})).status_code == 409
    git(own, "fetch", "-q", "../work.bundle", "HEAD:jelmore/work")
    assert git(own, "rev-parse", "jelmore/work").strip() == commit["commit"]
    assert git(own, "log", "-1", "--format=%an %s", "jelmore/work").strip() == "Ann second"
    assert git(own, "diff", "--name-only", "main", "jelmore/work").split() == ["changed", "new"]


async def test_what_changed_is_reported_by_file_and_as_a_patch_that_applies(made: World, own: Path) -> None:
    async with made.client() as client:
        url = await _brought_in(client, own)
        await client.put(f"{url}/files/changed", content=b"one\n2\n")
        await client.put(f"{url}/files/new", content=b"\0\1binary")
        diff = (await client.get(f"{url}/diff")).json()
        assert (diff["changed"], diff["additions"], diff["deletions"]) == (2, 1, 1)
        assert [(each["path"], each["status"], each["binary"]) for each in diff["files"]] == [
            ("changed", "modified", False),
            ("new", "added", True),
        ]
        unified = await client.get(f"{url}/diff", headers={"Accept": "text/x-diff"})
        assert "-two\n+2\n" in unified.text
        patch = (await client.get(f"{url}/patch")).content
        assert (await client.get(f"{url}/diff", params={"from": "no-such"})).status_code == 404
        bad = await client.get(f"{url}/diff", params={"from": "--output=/tmp/x"})
        assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "from")
    (own.parent / "work.patch").write_bytes(patch)
    git(own, "apply", "../work.patch")
    assert (own / "new").read_bytes() == b"\0\1binary"


HOSTILE = {
    "diff.noprefix": "true",
    "diff.mnemonicPrefix": "true",
    "diff.srcPrefix": "x/",
    "diff.dstPrefix": "y/",
    "diff.relative": "true",
    "diff.orderFile": "/nonexistent",
    "diff.context": "0",
    "diff.interHunkContext": "99",
    "diff.suppressBlankEmpty": "true",
    "diff.submodule": "log",
    "diff.wsErrorHighlight": "all",
    "diff.colorMoved": "zebra",
    "diff.external": "false",
    "diff.upper.textconv": "tr a-z A-Z <",
    "diff.upper.command": "false",
    "color.ui": "always",
    "color.diff": "always",
    "core.pager": "false",
    "core.quotePath": "true",
}


async def test_the_form_of_a_diff_does_not_depend_on_the_repositorys_configuration(made: World, own: Path) -> None:
    (own / "changed").write_text("one\n\n\n\n\ntwo\n")
    (own / "grün").write_text("text\n")
    git(own, "add", ".")
    git(own, "commit", "-q", "-m", "second")
    async with made.client() as client:
        url = await _brought_in(client, own)
        for key, value in HOSTILE.items():
            git(own, "config", key, value)
        (own / ".git" / "info" / "attributes").write_text("* diff=upper\n")
        hostile = await _brought_in(client, own)
        for each in (url, hostile):
            await client.put(f"{each}/files/changed", content=b"one\n\n\n\n\n2\n")
            await client.put(f"{each}/files/gr%C3%BCn", content=b"other\n")
            await client.put(f"{each}/files/new", content=b"\0\1binary")
        for form in ("json", "unified"):
            shown = [(await client.get(f"{each}/diff", params={"format": form})).text for each in (url, hostile)]
            assert shown[0] == shown[1]
        assert "--- a/changed\n+++ b/changed\n@@ -3,4 +3,4 @@ one\n \n \n \n-two\n+2\n" in shown[1]
        assert "diff --git a/grün b/grün\n" in shown[1]
        assert "Binary files /dev/null and b/new differ\n" in shown[1]
        assert "GIT binary patch" in (await client.get(f"{hostile}/patch")).text


async def test_a_renamed_file_may_have_a_name_that_is_not_text(made: World, own: Path) -> None:
    named = os.fsdecode(b"caf\xe9")
    (own / named).write_text("a text that is long enough to be found again\n" * 3)
    git(own, "add", ".")
    git(own, "commit", "-q", "-m", "second")
    git(own, "mv", named, "cafe")
    async with made.client() as client:
        answer = await client.get(f"{await _brought_in(client, own)}/diff")
    assert answer.status_code == 200
    assert [(each["old_path"], each["path"]) for each in answer.json()["files"]] == [("caf\ufffd", "cafe")]


async def test_hooks_and_configuration_of_a_repository_run_nothing(made: World, own: Path) -> None:
    mark = own.parent / "ran"
    script = f"#!/bin/sh\ntouch {mark}\n"
    for hook in ("pre-commit", "post-commit", "prepare-commit-msg", "post-index-change", "fsmonitor"):
        path = own / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
    git(own, "config", "core.fsmonitor", str(own / ".git" / "hooks" / "fsmonitor"))
    git(own, "config", "diff.external", str(own / ".git" / "hooks" / "fsmonitor"))
    git(own, "config", "core.pager", str(own / ".git" / "hooks" / "fsmonitor"))
    mark.unlink(missing_ok=True)
    async with made.client() as client:
        url = await _brought_in(client, own)
        await client.put(f"{url}/files/changed", content=b"other\n")
        for call in ("diff", "patch", "bundle"):
            assert (await client.get(f"{url}/{call}")).status_code == 200
        assert (await client.post(f"{url}/commit", json={"message": "x"})).json()["created"]
    assert not mark.exists()


async def test_without_a_repository_it_says_so(made: World) -> None:
    async with made.client() as client:
        url = f"{BASE}/{(await client.post(BASE, json={})).json()['id']}"
        made.folders.folder(url.rpartition("/")[2])
        for call in ("diff", "patch", "bundle"):
            answer = await client.get(f"{url}/{call}")
            assert (answer.status_code, answer.json()["code"]) == (409, "conflict"), call
        bad = await client.post(f"{url}/commit", json={"message": " "})
        assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "message")


async def test_a_repository_without_its_last_commit_is_broken_for_every_call(made: World, own: Path) -> None:
    async with made.client() as client:
        url = await _brought_in(client, own)
        folder = made.folders.folder(url.rpartition("/")[2])
        head = git(folder, "rev-parse", "HEAD").strip()
        (folder / ".git" / "objects" / head[:2] / head[2:]).unlink()
        for answer in (
            await client.get(f"{url}/diff"),
            await client.get(f"{url}/diff", params={"format": "unified"}),
            await client.get(f"{url}/patch"),
            await client.get(f"{url}/bundle"),
            await client.post(f"{url}/commit", json={"message": "second"}),
        ):
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (422, "repository_failed"), answer.text
            assert head in problem["detail"]
            assert not problem["retryable"]
