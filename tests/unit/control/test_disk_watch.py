"""The host's disk is warned of once per level, and again after it was well below."""

from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.disk_watch import DiskWatch
from jelmore.drivers.event_schema import PAYLOADS
from jelmore.session.events import EventType
from tests.fakes.memory_store import SYSTEM
from tests.unit.control.world import World


class Disk:
    """A file system whose free bytes the test sets."""

    def __init__(self) -> None:
        self.free: int | None = 10_000

    async def free_bytes(self) -> int | None:
        return self.free


async def test_each_level_is_reported_once_while_the_disk_fills() -> None:
    world, disk = World(), Disk()
    watch = DiskWatch(world.store, DiskCapacity(1000, disk))
    found = []
    for free in (10_000, 1250, 1200, 999, 500, None, 1010, 1100, 1000, 5000, 1200):
        disk.free = free
        await watch.check()
        noted = await world.store.events(SYSTEM, 0, 100)
        found.append(len(noted))
    assert found == [0, 1, 1, 2, 2, 2, 2, 2, 3, 3, 4]
    assert {event.type for event in noted} == {EventType.SYSTEM_RESOURCE_WARNING}
    assert [event.payload["level_percent"] for event in noted] == [80, 100, 100, 80]
    assert set(PAYLOADS[EventType.SYSTEM_RESOURCE_WARNING]) <= set(noted[0].payload)
