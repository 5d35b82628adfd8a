"""Connections that the gateway holds, as the runner journals them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jelmore_protocol.control import EgressAsk, EgressOutcome, PermissionAnswer
from jelmore_protocol.events import EventKind
from jelmore_runner.errors import RefusedError
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
