"""Creates with `base`: the new session has the other one's files, once, or does not exist."""

import asyncio
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from jelmore.ports import Role
from tests.integration.api.world import World
from tests.support.waiting import until

pytestmark = pytest.mark.integration
SESSIONS = "/api/v1/sessions"


async def with_files(api: World, http: httpx.AsyncClient, **options: Any) -> dict[str, Any]:
    """Return a session that has a file, a folder and a link in its workspace."""
    made: dict[str, Any] = (await http.post(SESSIONS, json={"title": "base", **options})).json()
    folder = api.folders.folder(made["id"])
    (folder / "src").mkdir()
    (folder / "src" / "kept.txt").write_text("here")
    (folder / "link").symlink_to("src/kept.txt")
    return made


def left(api: World) -> list[Path]:
    """Return the workspaces with anything in them."""
    return sorted(folder for folder in api.folders.root.iterdir() if any(folder.iterdir()))


async def test_a_session_begins_with_a_copy_of_another_ones_files(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        base = await with_files(api, http)
        answer = await http.post(SESSIONS, json={"base": base["id"], "title": "second", "model": "opus"})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["base"], made["forked_from"], made["repository"]) == (base["id"], None, None)
        assert (made["title"], made["model"], made["tags"]) == ("second", "opus", [])
        assert (await http.get(f"{SESSIONS}/{made['id']}")).json()["base"] == base["id"]
        folder = api.folders.folder(made["id"])
        assert (folder / "src" / "kept.txt").read_text() == "here"
        assert (folder / "link").readlink() == Path("src/kept.txt")
        (folder / "src" / "kept.txt").write_text("changed")
        assert (api.folders.folder(base["id"]) / "src" / "kept.txt").read_text() == "here"
        init = (await api.runner(made["id"])).init
        assert init is not None
        assert init.resume is False, "the conversation is its own"


async def test_the_base_may_have_ended(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        base = await with_files(api, http)
        assert (await http.delete(f"{SESSIONS}/{base['id']}")).json()["status"] == "terminated"
        made = (await http.post(SESSIONS, json={"base": base["id"]})).json()
        assert (api.folders.folder(made["id"]) / "src" / "kept.txt").read_text() == "here"
        assert (await http.get(f"{SESSIONS}/{base['id']}")).json()["status"] == "terminated"


async def test_the_base_may_be_asleep_and_is_not_resumed(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        base = await with_files(api, http, idle_after_s=0.05, hibernate_after_s=0.1)
        url = f"{SESSIONS}/{base['id']}"

        async def asleep() -> bool:
            return bool((await http.get(url)).json()["presence"] == "hibernated")

        await until(asleep)
        made = (await http.post(SESSIONS, json={"base": base["id"]})).json()
        assert (api.folders.folder(made["id"]) / "src" / "kept.txt").read_text() == "here"
        assert await asleep()


async def test_a_repeated_key_copies_nothing_again_also_when_the_base_is_gone(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        base = await with_files(api, http)
        headers = {"Idempotency-Key": "once"}
        first = await http.post(SESSIONS, json={"base": base["id"]}, headers=headers)
        copies = len(api.folders.started)
        assert (await http.post(f"{SESSIONS}/{base['id']}/erase?end=true")).status_code == 200
        again = await http.post(SESSIONS, json={"base": base["id"]}, headers=headers)
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"]), again.text
        assert len(api.folders.started) == copies
        other = await http.post(SESSIONS, json={}, headers=headers)
        assert other.status_code == 422, other.text


async def test_the_same_key_at_once_makes_one_session_and_one_workspace(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        base = await with_files(api, http)

        async def create() -> str:
            answer = await http.post(SESSIONS, json={"base": base["id"]}, headers={"Idempotency-Key": "many"})
            assert answer.status_code in {200, 201}, answer.text
            return str(answer.json()["id"])

        ids = set(await asyncio.gather(*(create() for _ in range(3))))
        assert len(ids) == 1
        assert len((await http.get(SESSIONS)).json()) == 2


async def test_what_cannot_be_copied_leaves_no_session(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        base = await with_files(api, http)
        files = left(api)
        for value in (str(uuid4()), "no-id", 1):
            answer = await http.post(SESSIONS, json={"base": value})
            assert (answer.status_code, "base" in answer.text) == (422, True), answer.text
        both = {"base": base["id"], "repository": {"url": "https://git.example.com/team/project.git"}}
        answer = await http.post(SESSIONS, json=both)
        assert (answer.status_code, "base or repository" in answer.text) == (422, True), answer.text
        async with api.client(api.keys[Role.READONLY]) as reader:
            assert (await reader.post(SESSIONS, json={"base": base["id"]})).status_code == 403
        async with api.client("", Authorization=f"Bearer {base['token']}") as holder:
            assert (await holder.post(SESSIONS, json={"base": base["id"]})).status_code == 403
        async with api.client(api.other_key) as stranger:
            answer = await stranger.post(SESSIONS, json={"base": base["id"]})
            assert (answer.status_code, "base: there is no session" in answer.text) == (422, True), answer.text
        assert len((await http.get(SESSIONS)).json()) == 1
        assert left(api) == files


async def test_a_copy_that_fails_is_removed(api: World, monkeypatch: pytest.MonkeyPatch) -> None:
    erased: list[UUID] = []
    erase = api.engine.erase

    async def recorded(session_id: UUID) -> None:
        erased.append(session_id)
        await erase(session_id)

    monkeypatch.setattr(api.engine, "erase", recorded)
    async with api.client(api.keys[Role.CLIENT]) as http:
        base = await with_files(api, http)
        with (api.folders.folder(base["id"]) / "large").open("wb") as large:
            large.truncate(33 * 2**20)
        answer = await http.post(SESSIONS, json={"base": base["id"], "limits": {"workspace_bytes": 32 * 2**20}})
        assert answer.status_code == 507, answer.text
        assert len(erased) == 1
        assert str(erased[0]) != base["id"]
        assert len((await http.get(SESSIONS)).json()) == 1


async def test_a_base_without_its_workspace_is_refused(api: World) -> None:
    async with api.client(api.keys[Role.CLIENT]) as http:
        base = await with_files(api, http)
        await http.delete(f"{SESSIONS}/{base['id']}")
        shutil.rmtree(api.folders.folder(base["id"]))
        answer = await http.post(SESSIONS, json={"base": base["id"]})
        assert (answer.status_code, answer.json()["code"]) == (409, "workspace_lost"), answer.text
        assert base["id"] in answer.json()["detail"]
        assert len((await http.get(SESSIONS)).json()) == 1
