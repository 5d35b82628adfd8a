"""The agent's own user through the life of a session: what it made stays its own, and what is copied is the copy's."""

from typing import Any

from tests.support.stack import agent_uid_of
from tests.support.stack_client import SESSIONS, Api, tool_answers

WRITE = (
    "demo> run umask 077 && echo private > mine && mkdir closed && echo deep > closed/file && git init -q . && id -u"
)
READ = "demo> run cat mine closed/file && stat -c %u mine closed . ~ && touch mine && echo more >> closed/file"


async def answered(api: Api, session_id: str, prompt: str) -> list[str]:
    """Return the words that the last command of a turn printed."""
    await api.ask(session_id, prompt)
    return tool_answers(await api.all(session_id, "output"))[-1].split()


async def read(api: Api, session_id: str, path: str) -> str:
    answer = await api.http.get(f"{SESSIONS}/{session_id}/files/{path}")
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_private_files_stay_the_agents_through_hibernation_a_fork_and_as_a_base(quick_api: Api) -> None:
    rest: dict[str, Any] = {"idle_after_s": 1, "hibernate_after_s": 2}
    created = await quick_api.create(allowed_tools=["Bash"], **rest)
    session_id, uid = created["id"], agent_uid_of(created["id"])
    assert await answered(quick_api, session_id, WRITE) == [uid]
    assert await read(quick_api, session_id, "mine") == "private\n"
    changed = {each["path"] for each in (await quick_api.get(session_id, "/diff"))["files"]}
    assert {"mine", "closed/file"} <= changed

    await quick_api.until(session_id, presence="hibernated", seconds=60)
    assert await read(quick_api, session_id, "closed/file") == "deep\n", "in a sandbox that is only for files"
    assert await answered(quick_api, session_id, READ) == ["private", "deep", *[uid] * 4]
    assert await read(quick_api, session_id, "closed/file") == "deep\nmore\n"

    forked = await quick_api.post(session_id, "/fork", {})
    assert forked.status_code == 201, forked.text
    based = await quick_api.create(base=session_id, allowed_tools=["Bash"])
    for copy in (forked.json()["id"], based["id"]):
        own = agent_uid_of(copy)
        assert own != uid
        assert await answered(quick_api, copy, READ) == ["private", "deep", "more", *[own] * 4]
    errors = [each["data"] for each in await quick_api.all(session_id, "output") if each["kind"] == "error"]
    # On a busy host a snapshot may be skipped, which is said and hurts nothing here.
    assert [each for each in errors if each["code"] != "snapshot_skipped"] == []
