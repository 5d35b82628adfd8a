"""A push of a session's commits: by a real gateway to a real git host, with a credential that no session has."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jelmore.ports import Role
from jelmore.session.errors import RepositoryError
from jelmore_protocol.gateway import PushRequest
from tests.integration.api.repository_parts import BASE, create_with_repository, git, make_origin, repository_world
from tests.integration.api.world import World
from tests.support.git_server import BASIC, GitServer, git_server

pytestmark = pytest.mark.integration
BRANCH = "jelmore/work"


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


async def _session(made: World, url: str, **repository: Any) -> str:
    """Create a session from a repository and commit a change in it."""
    session = await create_with_repository(made, url=url, **repository)
    await _commit(made, session["id"], "4")
    return str(session["id"])


async def _commit(made: World, session_id: str, code: str) -> None:
    async with made.client() as client:
        await client.put(f"{BASE}/{session_id}/files/code", content=f"{code}\n".encode())
        answer = await client.post(f"{BASE}/{session_id}/commit", json={"message": f"change {code}"})
        assert answer.json()["created"], answer.text


async def _push(made: World, session_id: str, branch: str | None = BRANCH, **body: str | None) -> httpx.Response:
    async with made.client() as client:
        return await client.post(f"{BASE}/{session_id}/push", json={"branch": branch, **body})


async def test_a_branch_arrives_and_the_credential_stays_outside(made: World, host: GitServer, origin: Path) -> None:
    url = f"{host.url}/private/project.git"
    session_id = await _session(made, url, credential="bot")
    folder = made.folders.folder(session_id)
    head = git(folder, "rev-parse", "HEAD")
    answer = await _push(made, session_id, credential="bot")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"url": url, "branch": BRANCH, "commit": head, "pushed": True}
    there = origin / "private" / "project.git"
    assert git(there, "rev-parse", BRANCH) == head
    assert git(there, "show", f"{BRANCH}:code") == "4"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    for text in (BASIC.encode(), b"s3cret", b"Authorization", b"extraHeader"):
        assert not [path for path in files if text in path.read_bytes()]
    assert list((made.gateway_folder / "state" / "repositories").iterdir()) == []


async def test_a_push_is_repeated_and_continued(made: World, host: GitServer, origin: Path) -> None:
    session_id = await _session(made, f"{host.url}/private/project.git", credential="bot")
    first = (await _push(made, session_id, credential="bot")).json()
    again = await _push(made, session_id, credential="bot")
    assert (again.status_code, again.json()) == (200, {**first, "pushed": False})
    await _commit(made, session_id, "5")
    further = (await _push(made, session_id, credential="bot")).json()
    assert further["pushed"]
    assert git(origin / "private" / "project.git", "rev-parse", f"{BRANCH}~1") == first["commit"]


async def test_what_a_hook_of_the_server_says_is_passed_on(made: World, host: GitServer, origin: Path) -> None:
    hook = origin / "private" / "project.git" / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho 'name a ticket, {BASIC}' >&2\nexit 1\n")
    hook.chmod(0o755)
    session_id = await _session(made, f"{host.url}/private/project.git", credential="bot")
    refused = await _push(made, session_id, credential="bot")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "branch"), refused.text
    assert "pre-receive hook declined" in refused.json()["detail"]
    assert refused.json()["detail"].endswith("it says: name a ticket, ***")


async def test_nothing_is_overwritten(made: World, host: GitServer, origin: Path) -> None:
    url = f"{host.url}/private/project.git"
    first, second = await _session(made, url, credential="bot"), await _session(made, url, credential="bot")
    # Commits of the same content in the same second would be one commit, and the second push would continue the first.
    git(made.folders.folder(second), "commit", "-q", "--amend", "-m", "another")
    kept = (await _push(made, first, credential="bot")).json()["commit"]
    refused = await _push(made, second, credential="bot")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict"), refused.text
    assert "nothing is overwritten" in refused.json()["detail"]
    assert git(origin / "private" / "project.git", "rev-parse", BRANCH) == kept


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"branch": "trunk"}, "branch", "must begin with 'jelmore/'"),
        ({"branch": "jelmore/"}, "branch", "not the name of a branch"),
        ({"branch": "jelmore/a..b"}, "branch", "not the name of a branch"),
        ({"branch": "jelmore/a:refs/heads/trunk"}, "branch", "not the name of a branch"),
        ({"branch": "jelmore/x.lock"}, "branch", "not the name of a branch"),
        ({"credential": "wrong"}, "credential", "the server refuses 'wrong'"),
        ({"credential": None}, "credential", "is missing"),
        ({"credential": "unset"}, "credential", "not set"),
        ({"credential": "absent"}, "credential", "no git route"),
        ({"credential": ""}, "credential", "should match"),
        ({"url": "https://git.example.com/x.git", "credential": None}, "url", "no git route leads to it"),
        ({"url": "https://git.example.com/x.git", "credential": "bot"}, "credential", "no git route"),
        ({"url": "{host}/private/absent.git"}, "url", "git says"),
    ],
)
async def test_what_is_not_allowed_reaches_no_branch(
    made: World, host: GitServer, origin: Path, body: dict[str, str | None], field: str, words: str
) -> None:
    session_id = await _session(made, f"{host.url}/private/project.git", credential="bot")
    before = git(origin / "private" / "project.git", "for-each-ref")
    filled = {name: value and value.replace("{host}", host.url) for name, value in body.items()}
    answer = await _push(made, session_id, **{"branch": BRANCH, "credential": "bot", **filled})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == field
    assert words in answer.json()["detail"]
    assert BASIC not in answer.text
    assert git(origin / "private" / "project.git", "for-each-ref") == before


async def test_another_repository_below_a_route(made: World, host: GitServer, origin: Path) -> None:
    session_id = await _session(made, f"{host.url}/private/project.git", credential="bot")
    git(origin / "private", "clone", "-q", "--bare", "project.git", "other.git")
    answer = await _push(made, session_id, url=f"{host.url}/private/other.git", credential="bot")
    assert answer.status_code == 200, answer.text
    assert git(origin / "private" / "other.git", "rev-parse", BRANCH) == answer.json()["commit"]


async def test_refs_and_configuration_of_the_workspace_push_nothing_else(
    made: World, host: GitServer, origin: Path
) -> None:
    session_id = await _session(made, f"{host.url}/private/project.git", credential="bot")
    folder = made.folders.folder(session_id)
    git(folder, "config", "remote.origin.push", "+HEAD:refs/heads/trunk")
    git(folder, "config", "remote.origin.url", "http://127.0.0.1:1/elsewhere.git")
    git(folder, "config", "url.http://127.0.0.1:1/.insteadOf", host.url)
    git(folder, "branch", "jelmore/other", "HEAD~1")
    git(folder, "tag", "jelmore/tag", "HEAD~2")
    hook = folder / ".git" / "hooks" / "pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {folder}/ran\n")
    hook.chmod(0o755)
    head, trunk = git(folder, "rev-parse", "HEAD"), git(origin / "private" / "project.git", "rev-parse", "trunk")
    answer = await _push(made, session_id, credential="bot")
    assert (answer.status_code, answer.json()["commit"]) == (200, head), answer.text
    there = git(origin / "private" / "project.git", "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    assert f"refs/heads/trunk {trunk}" in there
    assert sorted(line.split()[0] for line in there) == [
        f"refs/heads/{BRANCH}",
        "refs/heads/old",
        "refs/heads/trunk",
        "refs/tags/v1",
    ]
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"# v2 git bundle\n" + b"a" * 40 + b" HEAD\n\nPACK", "cannot be read"),
        (b"# v2 git bundle\n-" + b"a" * 40 + b"\n" + b"a" * 40 + b" HEAD\n\n", "cannot be read"),
        (os.urandom(5000), "cannot be read"),
        (b"x" * 100_001, "more than 100000 bytes"),
    ],
)
async def test_a_hostile_bundle_is_refused(
    made: World, host: GitServer, origin: Path, content: bytes, words: str
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    asked = PushRequest(url=f"{host.url}/private/project.git", credential="bot", branch=BRANCH, max_bytes=100_000)
    with pytest.raises(RepositoryError, match=words):
        await made.repository_source.push(asked, pieces())
    assert BRANCH not in git(origin / "private" / "project.git", "for-each-ref")
    assert list((made.gateway_folder / "state" / "repositories").iterdir()) == []


@pytest.mark.parametrize("depth", [1, 2])
async def test_a_shortened_history_is_pushed_to_where_it_came_from(
    made: World, host: GitServer, origin: Path, depth: int
) -> None:
    url, there = f"{host.url}/private/project.git", origin / "private" / "project.git"
    session_id = await _session(made, url, credential="bot", depth=depth)
    folder = made.folders.folder(session_id)
    assert (folder / ".git" / "shallow").read_text()
    answer = await _push(made, session_id, credential="bot")
    assert answer.status_code == 200, answer.text
    head = git(folder, "rev-parse", "HEAD")
    assert git(there, "rev-parse", BRANCH, f"{BRANCH}~") == f"{head}\n{git(there, 'rev-parse', 'trunk')}"
    assert git(there, "rev-list", "--count", BRANCH) == "4", "the server has the whole history"
    assert not (there / "shallow").exists()
    again = await _push(made, session_id, credential="bot")
    assert (again.status_code, again.json()["pushed"]) == (200, False)
    # The branch that it came from may have moved on.
    await _commit(made, session_id, "5")
    assert (await _push(made, session_id, credential="bot")).json()["pushed"]


async def test_a_shortened_history_is_pushed_nowhere_else(made: World, host: GitServer, origin: Path) -> None:
    session_id = await _session(made, f"{host.url}/private/project.git", credential="bot", depth=1)
    other = origin / "private" / "other.git"
    other.mkdir()
    git(other, "init", "-q", "--bare")
    answer = await _push(made, session_id, url=f"{host.url}/private/other.git", credential="bot")
    assert (answer.status_code, answer.json()["code"]) == (422, "repository_failed"), answer.text
    assert "fetch the bundle" in answer.json()["detail"]
    assert git(other, "for-each-ref") == ""


@pytest.mark.parametrize("forged", ["x", "--all", "0" * 40])
async def test_a_forged_beginning_of_the_history_brings_nothing(
    made: World, host: GitServer, origin: Path, forged: str
) -> None:
    session_id = await _session(made, f"{host.url}/private/project.git", credential="bot", depth=1)
    (made.folders.folder(session_id) / ".git" / "shallow").write_text(f"{forged}\n")
    answer = await _push(made, session_id, credential="bot")
    assert answer.status_code in {409, 422}, answer.text
    assert not answer.json()["retryable"]
    assert BRANCH not in git(origin / "private" / "project.git", "for-each-ref")


async def test_a_broken_repository_is_refused_and_not_to_be_tried_again(
    made: World, host: GitServer, origin: Path
) -> None:
    session_id = await _session(made, f"{host.url}/private/project.git", credential="bot")
    folder = made.folders.folder(session_id)
    blob = git(folder, "rev-parse", "HEAD:code")
    (folder / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    answer = await _push(made, session_id, credential="bot")
    assert (answer.status_code, answer.json()["code"]) == (422, "repository_failed"), answer.text
    assert not answer.json()["retryable"]
    assert answer.json()["detail"].startswith("git bundle: ")
    assert blob in answer.json()["detail"]
    assert BRANCH not in git(origin / "private" / "project.git", "for-each-ref")


async def test_who_may_not_push(made: World, host: GitServer) -> None:
    session_id = await _session(made, f"{host.url}/private/project.git", credential="bot")
    for key, status in ((made.keys[Role.READONLY], 403), (made.other_key, 404)):
        async with made.client(key) as client:
            answer = await client.post(f"{BASE}/{session_id}/push", json={"branch": BRANCH, "credential": "bot"})
            assert answer.status_code == status, answer.text


async def test_a_session_without_a_repository_needs_a_url(made: World) -> None:
    async with made.client() as client:
        session_id = (await client.post(BASE, json={})).json()["id"]
    answer = await _push(made, session_id)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
