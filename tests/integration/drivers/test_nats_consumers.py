"""What consumers of the event bus rely on: workers that share, and replay."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import nats
import pytest
import pytest_asyncio
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from jelmore.drivers.nats_events import STREAM, NatsEvents
from tests.contract.events_contract import events
from tests.support.records import new_id

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture
async def bus(nats_url: str) -> AsyncIterator[NatsEvents]:
    bus = NatsEvents(nats_url, instance="test")
    await bus.connect()
    yield bus
    await bus.close()


@pytest_asyncio.fixture
async def jetstream(nats_url: str) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(nats_url)
    yield client.jetstream()
    await client.close()


async def taken(jetstream: JetStreamContext, durable: str, config: ConsumerConfig) -> list[int]:
    """Return the seqs that a worker gets until nothing is left."""
    worker = await jetstream.pull_subscribe("jelmore.v1.session.>", durable=durable, stream=STREAM, config=config)
    seqs: list[int] = []
    with suppress(TimeoutError, nats.errors.TimeoutError):
        while True:
            for message in await worker.fetch(7, timeout=0.5):
                seqs.append(json.loads(message.data)["seq"])
                await message.ack_sync()
    return seqs


async def test_two_workers_of_one_durable_share_without_doubles(bus: NatsEvents, jetstream: JetStreamContext) -> None:
    await bus.publish(events(new_id(), 1, 200))
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT)
    await jetstream.add_consumer(STREAM, ConsumerConfig(durable_name="workers", ack_policy=AckPolicy.EXPLICIT))
    both = await asyncio.gather(*(taken(jetstream, "workers", config) for _ in range(2)))
    assert all(both), "each had a share"
    assert sorted(both[0] + both[1]) == list(range(1, 201))


async def test_events_are_replayed_from_a_seq_and_from_a_time(bus: NatsEvents, jetstream: JetStreamContext) -> None:
    one = new_id()
    await bus.publish(events(one, 1, 5))
    await bus.publish(events(one, 6, 9))
    from_seq = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=4)
    assert await taken(jetstream, "by-seq", from_seq) == [4, 5, 6, 7, 8, 9]
    sixth = await jetstream.get_msg(STREAM, 6)
    assert sixth.time is not None
    from_time = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=sixth.time)
    assert await taken(jetstream, "by-time", from_time) == [6, 7, 8, 9]
