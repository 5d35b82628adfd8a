"""What a change asks for, and what follows from it."""

from dataclasses import replace

import pytest

from jelmore.control.requests import Changes, CreateRequest
from jelmore.control.session_spec import changed_session
from jelmore.session.errors import ConflictError, StartFailedError
from tests.support.records import MOMENT, new_session
from tests.unit.control.world import ALICE, Manager, World


async def test_a_new_timeout_warns_again_and_another_change_does_not() -> None:
    defaults = Manager(World()).commands._defaults
    warned = replace(new_session(), warned_at=MOMENT)
    assert changed_session(warned, Changes(timeout_s=7200), defaults).warned_at is None
    assert changed_session(warned, Changes(title="t"), defaults).warned_at == MOMENT


async def test_a_runner_that_refuses_to_begin_fails_its_session_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    manager = Manager(world)
    await manager.start()

    async def refuse(*_: object, **__: object) -> None:
        raise ConflictError("it speaks another protocol")

    monkeypatch.setattr(manager.ports.runners, "init", refuse)
    with pytest.raises(StartFailedError):
        await manager.commands.create(ALICE, CreateRequest(), idempotency=None, wait=True)
    [session] = world.store.sessions.values()
    assert session.failure is not None
    assert session.failure.message == "the runner refused to begin: it speaks another protocol"
    await manager.kill()
