"""What a runner says of who is connected to the public URL of its session."""

import asyncio
from contextlib import ExitStack, aclosing

import pytest

from jelmore_protocol.public_clients import MAX_CLIENTS, ClientsFrame
from jelmore_runner import public_clients
from jelmore_runner.public_clients import PublicClients


def _rights(frame: ClientsFrame) -> dict[str, bool]:
    return {each.subject: each.can_write for each in frame.clients}


async def test_each_change_is_said_once_and_each_person_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_clients, "GATHER_S", 0)
    clients = PublicClients()
    async with asyncio.timeout(5), aclosing(clients.frames()) as frames:
        with clients.connected("ann", can_write=False), clients.connected("bob", can_write=False):
            assert _rights(await anext(frames)) == {"ann": False, "bob": False}
            with clients.connected("ann", can_write=True):
                assert _rights(await anext(frames)) == {"ann": True, "bob": False}
            with clients.connected("ann", can_write=False):
                assert _rights(await anext(frames)) == {"ann": False, "bob": False}
        assert _rights(await anext(frames)) == {}


def test_a_frame_is_bounded() -> None:
    clients = PublicClients()
    with ExitStack() as stack:
        for number in range(MAX_CLIENTS + 5):
            stack.enter_context(clients.connected(f"key_{number}", can_write=False))
        assert len(clients.frame().clients) == MAX_CLIENTS
