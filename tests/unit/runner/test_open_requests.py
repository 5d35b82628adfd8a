"""Connections that the gateway holds, as the runner journals them."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jelmore_protocol.control import EgressAsk, EgressOutcome, PermissionAnswer
from jelmore_protocol.events import EventKind
from jelmore_runner.errors import RefusedError
from jelmore_runner.pending_requests import Question
from jelmore_runner.request_bounds import MAX_OPEN, RequestBounds
from tests.unit.runner.test_session import Listener, events, opened

ASKED = EgressAsk(
    id="egress-1", host="own.example", port=443, method="CONNECT", expires_at=datetime.now(UTC) + timedelta(minutes=5)
)
ALLOWED = EgressOutcome(decision="allow", by="key_a", remember="session")


async def test_a_connection_is_asked_once_and_settled_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        first = await session.requests.ask_egress(ASKED)
        assert await session.requests.ask_egress(ASKED) == first
        assert session.projection.waiting_for == "egress"
        (pending,) = session.projection.pending.values()
        assert (pending.request_id, pending.title) == ("egress-1", "Connect to own.example:443")
        assert pending.expires_at == ASKED.expires_at
        await session.requests.settle_egress("egress-1", ALLOWED)
        assert session.projection.pending == {}
        assert session.projection.waiting_for == "prompt"
        with pytest.raises(RefusedError, match="key_a has answered"):
            await session.requests.settle_egress("egress-1", ALLOWED)
        with pytest.raises(RefusedError, match="key_a has answered"):
            await session.requests.ask_egress(ASKED)
        with pytest.raises(RefusedError, match="no such request"):
            await session.requests.settle_egress("egress-2", ALLOWED)
        kinds = [kind for kind, _ in await events(session)]
        assert kinds.count(EventKind.PERMISSION_REQUESTED) == 1
        resolved = [data for kind, data in await events(session) if kind == EventKind.PERMISSION_RESOLVED]
        assert resolved == [{"request_id": "egress-1", "decision": "allow", "by": "key_a", "remember": "session"}]


async def test_a_sandbox_does_not_decide_what_it_may_reach(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        await session.requests.ask_egress(ASKED)
        with pytest.raises(RefusedError, match="/permissions/"):
            await session.requests.answer("egress-1", PermissionAnswer(decision="allow", by="key_a"))
        assert list(session.projection.pending) == ["egress-1"]


async def test_the_next_run_cancels_what_waited(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        await session.requests.ask_egress(ASKED)
    async with opened(tmp_path) as session:
        await session.journal.durable(session.journal.last)
        assert session.projection.pending == {}
        with pytest.raises(RefusedError, match="withdrawn"):
            await session.requests.ask_egress(ASKED)


def wanted(size: int = 10) -> Question:
    return Question("Bash", {"command": "x" * size}, "Bash", [])


async def test_one_request_too_many_is_denied_unasked_and_that_is_said_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        asking = [asyncio.create_task(session.requests.ask(wanted()), name=f"ask {each}") for each in range(MAX_OPEN)]
        await asyncio.sleep(0)
        denied = [await session.requests.ask(wanted()) for _ in range(20)]
        assert {(each.decision, each.message) for each in denied} == {
            ("deny", "Nobody was asked: 100 requests of this session wait for an answer already.")
        }
        seen = await events(session)
        errors = [data for kind, data in seen if kind == EventKind.ERROR]
        assert [each["code"] for each in errors] == ["too_many_requests"]
        assert len([kind for kind, _ in seen if kind == EventKind.PERMISSION_REQUESTED]) == MAX_OPEN
        first, *_ = session.projection.pending
        await session.requests.answer(first, PermissionAnswer(decision="allow", by="key_a"))
        again = asyncio.create_task(session.requests.ask(wanted()), name="ask again")
        while len(session.projection.pending) < MAX_OPEN:
            await asyncio.sleep(0.01)
        session.agent_gone("stopped", 0)
        await asyncio.gather(*asking, again, return_exceptions=True)


async def test_requests_that_come_and_go_without_end_do_not_fill_the_journal(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        for _ in range(3000):
            asking = asyncio.create_task(session.requests.ask(wanted(30_000)), name="ask")
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait({asking})
        kept = session.journal.last
        assert 2 * 900 < kept < 4 * 1500, "each comes, changes the state, and goes; of 3,000 those that had room"


def test_a_few_large_requests_count_as_their_size() -> None:
    bounds = RequestBounds()
    assert [bounds.refusal(0, 16 * 2**20, 0.0) is None for _ in range(6)] == [True] * 4 + [False] * 2
    assert bounds.refusal(0, 10, 0.0) is not None
    assert bounds.refusal(0, 10, 60.0) is None, "after a minute there is room for another"
    assert bounds.report("why", 0.0) == "a request was denied without asking anybody: why"
    assert bounds.report("why", 1.0) is None
