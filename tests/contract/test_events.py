"""The event bus's contract, on the fake and on NATS."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import nats
import pytest
import pytest_asyncio
from nats.js import JetStreamContext

from jelmore.drivers.nats_events import STREAM, NatsEvents
from tests.contract.events_contract import EventsContract, Published
from tests.fakes.memory_events import MemoryEvents

pytestmark = pytest.mark.contract


class TestMemoryEvents(EventsContract):
    @pytest.fixture
    def bus(self) -> MemoryEvents:
        return MemoryEvents()

    @pytest.fixture
    def another(self, bus: MemoryEvents) -> MemoryEvents:
        return bus.another()

    @pytest.fixture
    def published(self, bus: MemoryEvents) -> Published:
        async def read() -> Sequence[tuple[str, int]]:
            return [(str(event.session_id), event.seq) for event in bus.published]

        return read

    @pytest.fixture
    def wipe(self, bus: MemoryEvents) -> Callable[[], Awaitable[object]]:
        async def wipe() -> None:
            bus.wipe()

        return wipe


@pytest.mark.integration
class TestNatsEvents(EventsContract):
    @pytest_asyncio.fixture
    async def bus(self, nats_url: str) -> AsyncIterator[NatsEvents]:
        bus = NatsEvents(nats_url, instance="test")
        yield bus
        await bus.close()

    @pytest_asyncio.fixture
    async def another(self, nats_url: str) -> AsyncIterator[NatsEvents]:
        bus = NatsEvents(nats_url, instance="test")
        yield bus
        await bus.close()

    @pytest_asyncio.fixture
    async def jetstream(self, nats_url: str) -> AsyncIterator[JetStreamContext]:
        client = await nats.connect(nats_url)
        yield client.jetstream()
        await client.close()

    @pytest.fixture
    def published(self, jetstream: JetStreamContext) -> Published:
        async def read() -> Sequence[tuple[str, int]]:
            state = (await jetstream.stream_info(STREAM)).state
            numbers = range(state.first_seq, state.last_seq + 1)
            bodies = [json.loads((await jetstream.get_msg(STREAM, seq)).data or b"") for seq in numbers]
            return [(body["session_id"], body["seq"]) for body in bodies]

        return read

    @pytest.fixture
    def wipe(self, jetstream: JetStreamContext) -> Callable[[], Awaitable[object]]:
        return lambda: jetstream.delete_stream(STREAM)
