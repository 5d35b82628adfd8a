"""Whole lives of a session, written as what its owner and its agent do, and what must be true whatever went wrong.

The stage plays the part of the ports: callers that try again until they are answered, a host that starts another
manager when one has died. So a life can be played with any fault, and must end as it ends without one.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

from jelmore.session.record import Session
from jelmore.session.states import Presence, SessionStatus
from jelmore.session.warm_start import WarmStart
from jelmore_protocol.control import Phase
from tests.unit.control.crashing import Fault
from tests.unit.control.stage import Stage
from tests.unit.control.virtual_time import EPOCH
from tests.unit.control.world import World

FREEZING = {"idle_after_s": 4.0}


SLEEPING = {"idle_after_s": 4.0, "hibernate_after_s": 10.0}


# --- the lives. `arm` marks where mishaps begin; what comes before is another life's business.


Life = Callable[[Stage, Callable[[], None]], Awaitable[None]]


async def created_and_deleted(stage: Stage, arm: Callable[[], None]) -> None:
    arm()
    await stage.create()
    await stage.works()
    await stage.finish()
    await stage.delete()


async def talking(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create(None)
    arm()
    await stage.input("one")
    await stage.works()
    await stage.input("two")
    await stage.finish()


async def paused_and_resumed(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create(None, **FREEZING)
    arm()
    await stage.rests(Presence.PAUSED)
    await stage.input("wake")
    await stage.works()
    await stage.finish()


async def hibernated_and_resumed(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create(None, **SLEEPING)
    await stage.rests(Presence.PAUSED)
    arm()
    await stage.rests(Presence.HIBERNATED)
    await stage.input("wake")
    await stage.works()
    await stage.finish()


async def killed_and_restarted(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create("one")
    await stage.works()
    arm()
    await stage.world.machine.kill(stage.session_id)
    await stage.waits()  # the lost turn is reported as interrupted
    await stage.input("two")
    await stage.finish()


async def taken_away_and_deleted(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create("one")
    arm()
    await stage.world.machine.snatch(stage.session_id)
    await stage.delete()


async def dead_and_deleted(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create("one")
    arm()
    runner = stage.world.machine.runner(stage.session_id)
    await runner.finish()  # and before anybody has read it
    await stage.world.machine.kill(stage.session_id)
    await stage.delete()


async def asleep_and_deleted(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create(None, **SLEEPING)
    await stage.rests(Presence.PAUSED)
    arm()
    await stage.delete()


async def ended_and_resumed(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create("one")
    await stage.works()
    arm()
    await stage.delete()
    await stage.resume()
    await stage.waits()
    await stage.input("two")
    await stage.finish()


async def failed_and_resumed(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create("one")
    await stage.works()
    arm()
    await stage.world.machine.runner(stage.session_id).end(1, "the agent crashed")
    await stage.reach(lambda session: session.status is SessionStatus.FAILED, "failed")
    await stage.resume()
    await stage.waits()


async def gone_by_itself(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create("one")
    await stage.works()
    await stage.finish()
    arm()
    await stage.world.machine.runner(stage.session_id).end(0)
    await stage.reach(lambda session: session.status is SessionStatus.TERMINATED, "terminated")


async def timed_out(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create(None, timeout_s=10, warn_before_s=4)
    arm()
    await stage.reach(lambda session: session.ended, "timed out")


async def claimed_and_deleted(stage: Stage, arm: Callable[[], None]) -> None:
    stage.world.pool_size = 1
    await stage.manager.kill()
    await stage.restart()
    await stage.pool_is_whole()
    arm()
    await stage.create("one")
    await stage.works()
    await stage.finish()
    await stage.pool_is_whole()
    await stage.delete()
    await stage.pool_is_whole()


async def claimed_dead_and_deleted(stage: Stage, arm: Callable[[], None]) -> None:
    stage.world.pool_size = 1
    await stage.manager.kill()
    await stage.restart()
    [member] = await stage.pool_is_whole()
    await stage.world.machine.kill(member)
    arm()
    await stage.create("one")
    await stage.works()
    await stage.finish()
    await stage.delete()
    await stage.pool_is_whole()


async def wakes_before_its_agent_connects(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create(None, **SLEEPING)
    await stage.rests(Presence.PAUSED)
    await stage.rests(Presence.HIBERNATED)
    stage.world.machine.runners.connects = False
    arm()
    connecting = asyncio.create_task(_connects_later(stage), name="agent")
    await stage.input("wake")
    await connecting
    await stage.works()
    await stage.finish()


async def wakes_with_two_inputs(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create(None, **SLEEPING)
    await stage.rests(Presence.PAUSED)
    await stage.rests(Presence.HIBERNATED)
    arm()
    await stage.input("wake")
    await stage.input("next")
    await stage.works()
    await stage.finish()
    assert stage.world.machine.disks[stage.session_id].executed == ["id-wake", "id-next"]


async def cannot_wake_and_is_resumed(stage: Stage, arm: Callable[[], None]) -> None:
    await stage.create(None, **SLEEPING)
    await stage.rests(Presence.PAUSED)
    await stage.rests(Presence.HIBERNATED)
    volume = stage.world.machine.volumes.pop(stage.session_id)
    arm()
    await stage.input("wake")
    failed = await stage.reach(lambda session: session.status is SessionStatus.FAILED, "failed")
    assert [each.id for each in failed.pending_inputs] == ["id-wake"]
    stage.world.machine.volumes[stage.session_id] = volume
    await stage.resume()
    await stage.works()
    await stage.finish()
    assert stage.world.machine.disks[stage.session_id].executed == ["id-wake"]


async def _connects_later(stage: Stage) -> None:
    await asyncio.sleep(3)
    stage.world.machine.runners.connects = True
    if stage.session_id in stage.world.machine.sandboxes:
        runner = stage.world.machine.runner(stage.session_id)
        runner.phase = Phase.READY if runner.init is not None else runner.phase


async def gave_its_slot_up(stage: Stage, arm: Callable[[], None]) -> None:
    stage.world.most_live = 1
    await stage.manager.kill()
    await stage.restart()
    await stage.create(None, idle_after_s=4, hibernate_after_s=1000)
    await stage.rests(Presence.PAUSED)
    mine = stage.session_id
    arm()
    await stage.create("another")
    other, stage.session_id = stage.session_id, mine
    await stage.rests(Presence.HIBERNATED)
    stage.session_id = other
    await stage.delete()
    stage.session_id = mine
    await stage.input("wake")
    await stage.works()
    await stage.finish()


LIVES: list[Life] = [
    wakes_with_two_inputs,
    cannot_wake_and_is_resumed,
    wakes_before_its_agent_connects,
    gave_its_slot_up,
    claimed_and_deleted,
    claimed_dead_and_deleted,
    created_and_deleted,
    talking,
    paused_and_resumed,
    hibernated_and_resumed,
    killed_and_restarted,
    taken_away_and_deleted,
    dead_and_deleted,
    asleep_and_deleted,
    ended_and_resumed,
    failed_and_resumed,
    gone_by_itself,
    timed_out,
]


async def play(
    life: Life, number: int, fault: Fault | None, world: World | None = None
) -> tuple[Stage, Counter[str], Session]:
    """Play a life with a fault at the call of that number (0: none); return what came of it."""
    stage = Stage(world or World())
    await stage.open()
    try:
        await life(stage, lambda: stage.arm(number, fault))
        counts = await stage.check()
        session: Session = await stage.world.store.load(stage.session_id)
    finally:
        await stage.close()
    return stage, counts, session


def essence(session: Session) -> Session:
    """Return what a fault must not change of a record: all but moments, names, counts of writes and of containers."""
    zero = EPOCH
    return replace(
        session,
        id=UUID(int=0),
        version=0,
        event_seq=0,
        since=zero,
        created_at=zero,
        last_activity_at=zero,
        restarted_at=zero,
        tokens_rotated_at=zero,
        warned_at=None,
        ended_at=None,
        container_id=None,
        agent_pid=None,
        unanswered=tuple({**one, "input_id": one.get("input_id") != str(session.id)} for one in session.unanswered),
        generation=0,
        restarts=0,
        failure=None,
        warm_start=WarmStart.NONE,
    )
