"""A create with a repository: fetched by a real gateway from a real git host, before the session starts."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.api.repository_parts import BASE, create_with_repository, git, make_origin, repository_world
from tests.integration.api.world import World, world
from tests.support.git_server import BASIC, GitServer, git_server

pytestmark = pytest.mark.integration


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return make_origin(tmp_path)


@pytest.fixture
async def host(origin: Path) -> AsyncIterator[GitServer]:
    async with git_server(origin) as server:
        yield server


@pytest.fixture
async def made(host: GitServer) -> AsyncIterator[World]:
    async with repository_world(host) as it:
        yield it


async def test_a_session_starts_with_the_repository(made: World, host: GitServer, origin: Path) -> None:
    head = git(origin / "open" / "project.git", "rev-parse", "trunk")
    session = await create_with_repository(made, url=f"{host.url}/open/project.git")
    assert session["repository"] == {
        "url": f"{host.url}/open/project.git",
        "ref": None,
        "branch": "trunk",
        "commit": head,
    }
    folder = made.folders.folder(session["id"])
    assert (folder / "code").read_text() == "3\n"
    assert git(folder, "status", "--porcelain", "--branch") == "## trunk...origin/trunk"
    assert git(folder, "rev-list", "--count", "HEAD") == "3"
    assert git(folder, "fsck", "--strict") == ""
    assert sorted(path.name for path in (folder / ".git" / "hooks").glob("*")) == []


@pytest.mark.parametrize(
    ("ref", "branch", "code", "status"),
    [("old", "old", "1", "## old...origin/old"), ("v1", None, "2", "## HEAD (no branch)")],
)
async def test_a_branch_or_a_tag(
    made: World, host: GitServer, ref: str, branch: str | None, code: str, status: str
) -> None:
    session = await create_with_repository(made, url=f"{host.url}/open/project.git", ref=ref)
    assert session["repository"]["branch"] == branch
    folder = made.folders.folder(session["id"])
    assert (folder / "code").read_text() == f"{code}\n"
    assert git(folder, "status", "--porcelain", "--branch") == status


async def test_a_commit_and_a_short_history(made: World, host: GitServer, origin: Path) -> None:
    first = git(origin / "open" / "project.git", "rev-parse", "old")
    session = await create_with_repository(made, url=f"{host.url}/open/project.git", ref=first)
    assert (made.folders.folder(session["id"]) / "code").read_text() == "1\n"
    session = await create_with_repository(made, url=f"{host.url}/open/project.git", depth=1)
    assert git(made.folders.folder(session["id"]), "rev-list", "--count", "HEAD") == "1"


async def test_the_credential_is_used_outside_and_nowhere_kept(made: World, host: GitServer) -> None:
    session = await create_with_repository(made, url=f"{host.url}/private/project.git", credential="bot")
    folder = made.folders.folder(session["id"])
    assert (folder / "code").read_text() == "3\n"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    for text in (BASIC.encode(), b"s3cret", b"Authorization", b"extraHeader"):
        assert not [path for path in files if text in path.read_bytes()]
    assert git(folder, "config", "remote.origin.url") == f"{host.url}/private/project.git"
    left = made.gateway_folder / "state" / "repositories"
    assert list(left.iterdir()) == []


@pytest.mark.parametrize(
    ("repository", "field", "words"),
    [
        ({"url": "/private/project.git"}, "repository.credential", "is missing: the server wants one"),
        ({"url": "/open/absent.git"}, "repository.url", "git says"),
        ({"url": "/open/project.git", "ref": "absent"}, "repository.ref", "no branch or tag"),
        ({"url": "/open/project.git", "ref": "--upload-pack=x"}, "repository.ref", "not the name"),
        ({"url": "/moved/project.git"}, "repository.url", "git says"),
        ({"url": "/open/project.git", "credential": "bot"}, "repository.credential", "no git route"),
        ({"url": "/private/project.git", "credential": "unset"}, "repository.credential", "not set"),
        ({"url": "http://localhost:{port}/open/project.git"}, "repository.url", "may not reach"),
        ({"url": "http://127.0.0.1:1/x.git"}, "repository.url", "https"),
        ({"url": "https://127.0.0.1:{port}/open/project.git"}, "repository.url", "may not be reached"),
    ],
)
async def test_what_cannot_be_fetched_leaves_no_session(
    made: World, host: GitServer, repository: dict[str, str], field: str, words: str
) -> None:
    url = repository["url"]
    url = host.url + url if url.startswith("/") else url.replace("{port}", str(host.port))
    async with made.client() as client:
        answer = await client.post(BASE, json={"repository": {**repository, "url": url}})
        assert answer.status_code == 422, answer.text
        problem = answer.json()
        assert (problem["code"], problem["errors"][0]["field"]) == ("repository_failed", field)
        assert words in problem["detail"]
        assert BASIC not in answer.text
        assert (await client.get(BASE)).json() == []
    assert list(made.folders.root.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "words"),
    [("sha1", "no commit, or its HEAD is no branch of it"), ("sha256", "SHA-256, and only SHA-1 is supported")],
)
async def test_a_repository_that_cannot_be_started_from_says_why(
    made: World, host: GitServer, origin: Path, form: str, words: str
) -> None:
    git(origin / "open", "init", "-q", "--bare", "-b", "main", f"--object-format={form}", "other.git")
    if form == "sha256":
        git(origin, "init", "-q", "--object-format=sha256", "own")
        git(origin / "own", "commit", "-q", "--allow-empty", "-m", "one")
        git(origin / "own", "push", "-q", str(origin / "open" / "other.git"), "HEAD:refs/heads/main")
    async with made.client() as client:
        answer = await client.post(BASE, json={"repository": {"url": f"{host.url}/open/other.git"}})
        assert answer.status_code == 422, answer.text
        assert words in answer.json()["detail"]


@pytest.mark.parametrize("url", ["file:///etc", "ext::sh -c x", "git@host:x.git", "https://u:p@host/x", "ssh://h/x"])
async def test_other_protocols_are_refused(made: World, url: str) -> None:
    async with made.client() as client:
        answer = await client.post(BASE, json={"repository": {"url": url}})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "repository.url")


async def test_a_repository_that_is_too_large_is_refused(made: World, host: GitServer, origin: Path) -> None:
    (origin.parent / "own" / "large").write_bytes(os.urandom(34_000_000))
    git(origin.parent / "own", "add", ".")
    git(origin.parent / "own", "commit", "-q", "-m", "large")
    git(origin.parent / "own", "push", "-q", str(origin / "open" / "project.git"), "trunk")
    async with made.client() as client:
        body = {"repository": {"url": f"{host.url}/open/project.git"}, "limits": {"workspace_bytes": "32m"}}
        answer = await client.post(BASE, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "repository_failed")
        assert "33554432 bytes" in answer.json()["detail"]


async def test_a_server_that_lists_without_end_is_refused(made: World, host: GitServer) -> None:
    async with made.client() as client:
        answer = await client.post(BASE, json={"repository": {"url": f"{host.url}/endless/project.git"}})
        assert (answer.status_code, answer.json()["code"]) == (422, "repository_failed")
        assert "its server makes git print more than 1048576 bytes" in answer.json()["detail"]


async def test_what_changed_since_the_start(made: World, host: GitServer) -> None:
    session = await create_with_repository(made, url=f"{host.url}/open/project.git")
    async with made.client() as client:
        url = f"{BASE}/{session['id']}"
        await client.put(f"{url}/files/code", content=b"4\n")
        await client.post(f"{url}/commit", json={"message": "fourth"})
        assert (await client.get(f"{url}/diff")).json()["changed"] == 0
        diff = (await client.get(f"{url}/diff", params={"against": "start"})).json()
        assert (diff["base"], diff["changed"]) == (session["repository"]["commit"], 1)
        assert b"+4" in (await client.get(f"{url}/patch", params={"against": "start"})).content
        both = await client.get(f"{url}/diff", params={"against": "start", "from": "HEAD"})
        assert (both.status_code, both.json()["errors"][0]["field"]) == (422, "against")
        other = (await client.post(BASE, json={})).json()["id"]
        assert (await client.get(f"{BASE}/{other}/diff", params={"against": "start"})).status_code == 409


async def test_without_the_gateway_it_says_so(host: GitServer) -> None:
    async with world() as made, made.client() as client:
        answer = await client.post(BASE, json={"repository": {"url": "https://git.example.com/x.git"}})
        assert (answer.status_code, answer.json()["code"]) == (503, "dependency_away")


async def test_a_repeated_key_fetches_nothing_again(made: World, host: GitServer) -> None:
    body = {"repository": {"url": f"{host.url}/open/project.git"}}
    async with made.client(**{"Idempotency-Key": "once"}) as client:
        first = await client.post(BASE, json=body)
        assert first.status_code == 201, first.text
        asked, started = len(host.seen), len(made.folders.started)
        again = await client.post(BASE, json=body)
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
        assert (len(host.seen), len(made.folders.started)) == (asked, started)
        other = await client.post(BASE, json={**body, "title": "another"})
        assert (other.status_code, len(host.seen)) == (422, asked), other.text
