"""An erased session leaves nothing behind in the whole system: volume, container, rows, Redis, JetStream."""

from tests.support.stack import Stack, docker_lines
from tests.support.stack_client import SESSIONS, Api, eventually
from tests.support.stack_stores import published, rows, stream_entries


async def test_an_erased_session_leaves_nothing_behind(api: Api, stack: Stack) -> None:
    created = await api.create("demo> say goodbye")
    session_id = created["id"]
    await api.until(session_id, status="waiting_input", waiting_for="prompt")
    assert docker_lines("volume", "ls", "--quiet", "--filter", f"name={session_id}")
    assert await rows(stack, session_id)
    assert await stream_entries(stack, session_id)
    assert await published(stack, session_id, 3)
    transcript = await api.http.get(f"{SESSIONS}/{session_id}/transcript")
    assert "goodbye" in transcript.text

    answer = await api.http.post(f"{SESSIONS}/{session_id}/erase?end=true", timeout=90)
    assert answer.status_code == 200, answer.text
    proof = answer.json()
    assert (proof["found"]["workspace"], proof["found"]["redis"]) == (1, 1)
    assert min(proof["found"]["jetstream"], proof["found"]["output"], proof["found"]["search_text"]) > 1
    assert set(proof["remaining"].values()) == {0}
    assert docker_lines("volume", "ls", "--quiet", "--filter", f"name={session_id}") == []
    assert docker_lines("ps", "--all", "--quiet", "--filter", f"label=jelmore.session={session_id}") == []
    for table in ("output", "events", "search_text", "usage_turns"):
        assert await rows(stack, session_id, table) == [], table

    async def redis_is_empty() -> bool:
        return not await stream_entries(stack, session_id)

    await eventually(redis_is_empty, what=lambda: "Redis still holds some of it")
    assert (await api.http.get(f"{SESSIONS}/{session_id}")).status_code == 404
    assert (await api.http.post(f"{SESSIONS}/{session_id}/erase")).json() == proof
