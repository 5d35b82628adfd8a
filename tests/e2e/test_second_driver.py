"""Sessions on a driver that Jelmore does not have: its sandboxes are reached only over TCP, with a secret.

The tests of the first session and of killed services run again on it. None of them, and no part of Jelmore, knows it.
"""

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.test_first_session import (  # noqa: F401 - run again, with the fixture `stack` of this module
    test_201_means_the_websocket_accepts,
    test_a_question_is_answered_over_the_websocket,
    test_a_reconnected_websocket_gets_exactly_what_it_missed,
    test_a_turn_is_interrupted_in_its_middle,
    test_events_on_the_bus_are_those_of_the_api,
    test_every_store_and_every_reader_has_the_same_numbers,
    test_sse_continues_after_the_last_event_id,
    test_the_stream_is_a_websocket_too,
)
from tests.e2e.test_restarts import (  # noqa: F401
    test_a_killed_manager_loses_and_doubles_nothing,
    test_new_sessions_can_be_made_after_all_that,
)
from tests.support.stack_client import Api, eventually, talk_to, tool_answers
from tests.support.stack_fixtures import running
from tests.support.stack_quickstart import QuickStartOnTcp
from tests.support.tcp_sandboxes import CONTROL_PORT


@pytest.fixture(scope="module")
def tcp() -> Iterator[QuickStartOnTcp]:
    """The quick start on the other driver."""
    stack = QuickStartOnTcp(JELMORE_MAX_SESSIONS="3")
    for _ in running(stack):
        yield stack


@pytest.fixture
def stack(tcp: QuickStartOnTcp) -> QuickStartOnTcp:
    """The stack of every test of this module."""
    return tcp


async def test_a_session_talks_sleeps_wakes_and_ends(api: Api, tcp: QuickStartOnTcp) -> None:
    created = await api.create(
        "demo> write note.txt kept", permission_mode="acceptEdits", idle_after_s=1, hibernate_after_s=3
    )
    session_id = created["id"]
    assert (tcp.run_dir / "addresses" / session_id).read_text().startswith("127.")
    async with talk_to(created, after=0) as talk:
        await talk.turn()
    await api.until(session_id, presence="frozen")
    result = await api.ask(session_id, "demo> say awake again")
    assert result["result"].endswith("awake again")
    await api.until(session_id, presence="hibernated", seconds=60)

    async def released() -> bool:
        return not tcp.machines()

    await eventually(released, what=lambda: "the sandbox of the hibernated session is removed")
    await api.ask(session_id, "demo> read note.txt")
    resumed = await api.get(session_id)
    assert (resumed["generation"], resumed["presence"]) == (created["generation"] + 1, "awake")
    assert "kept" in tool_answers(await api.all(session_id, "output"))[-1]
    await api.delete(session_id)

    async def gone() -> bool:
        return not tcp.machines() and not list((tcp.run_dir / "routes").iterdir())

    await eventually(gone, what=lambda: "sandbox and route are removed")


async def test_a_control_port_answers_nobody_without_its_secret(api: Api, tcp: QuickStartOnTcp) -> None:
    created = await api.create()
    host = (tcp.run_dir / "addresses" / created["id"]).read_text().partition(":")[0]
    async with httpx.AsyncClient(base_url=f"http://{host}:{CONTROL_PORT}", trust_env=False) as stranger:
        for path in ("/health", "/input", "/stop"):
            answer = await stranger.post(path, json={}, headers={"X-Jelmore-Secret": "guess"})
            assert answer.status_code in {401, 403}, path
    assert (await api.ask(created["id"], "demo> say still here"))["result"].endswith("still here")
