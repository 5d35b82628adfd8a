"""What lies on the event bus beside the events."""

import contextlib
import json

import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from jelmore.bootstrap import Manager
from jelmore.drivers.nats_events import DEAD_LETTERS, STREAM, NatsEvents
from jelmore.ports import StoredEvent
from jelmore.session.errors import DependencyError
from jelmore.settings import load_settings
from tests.contract.events_contract import events
from tests.support.records import MOMENT, new_id
from tests.support.waiting import until

pytestmark = pytest.mark.integration


async def test_what_consumers_give_up_on_is_kept(nats_url: str) -> None:
    bus, one = NatsEvents(nats_url, instance="test"), new_id()
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    try:
        await bus.connect()
        await bus.publish(events(one, 1, 3))
        impatient = ConsumerConfig(durable_name="worker", ack_policy=AckPolicy.EXPLICIT, ack_wait=0.1, max_deliver=1)
        await jetstream.add_consumer(STREAM, impatient)
        worker = await jetstream.pull_subscribe_bind(consumer="worker", stream=STREAM)
        delivered = await worker.fetch(3, timeout=5)
        assert json.loads(delivered[0].data)["session_id"] == str(one)
        await delivered[0].ack()
        await delivered[1].term()

        async def both_kept() -> bool:
            with contextlib.suppress(TimeoutError, nats.errors.TimeoutError):
                await worker.fetch(1, timeout=0.05)  # the server looks at what is overdue when asked for more
            return (await jetstream.stream_info(DEAD_LETTERS)).state.messages == 2

        await until(both_kept)
        letters = [json.loads((await jetstream.get_msg(DEAD_LETTERS, seq)).data or b"") for seq in (1, 2)]
        assert sorted(letter["stream_seq"] for letter in letters) == [2, 3]
    finally:
        await client.close()
        await bus.close()


async def test_an_event_larger_than_a_message_does_not_block_the_rest(nats_url: str) -> None:
    bus, one = NatsEvents(nats_url, instance="test"), new_id()
    client = await nats.connect(nats_url)
    try:
        await bus.connect()
        large = StoredEvent(one, 1, "command.executed", MOMENT, {"result": "x" * 9_000_000}, None, 1)
        await bus.publish([large, *events(one, 2, 2)])
        kept = await client.jetstream().get_msg(STREAM, 1)
        assert json.loads(kept.data or b"")["payload"]["omitted"] is True
        assert kept.headers == {"Nats-Msg-Id": f"{one}:1", "Nats-Expected-Stream": STREAM}
        assert (
            await client.jetstream().get_msg(STREAM, 2)
        ).subject == f"jelmore.v1.session.{one}.session_state_changed"
    finally:
        await client.close()
        await bus.close()


async def test_a_stream_with_small_messages_does_not_block_the_rest(nats_url: str) -> None:
    bus, one = NatsEvents(nats_url, instance="test"), new_id()
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    try:
        await bus.connect()
        small = (await jetstream.stream_info(STREAM)).config
        small.max_msg_size = 10_000
        await jetstream.update_stream(small)
        large = StoredEvent(one, 1, "command.executed", MOMENT, {"result": "x" * 20_000}, None, 1)
        with contextlib.suppress(DependencyError):
            await bus.publish([large])  # refused: the limit is learned when it looks again
        await bus.connect()
        assert await bus.publish([large, *events(one, 2, 2)]) == 2
        assert json.loads((await jetstream.get_msg(STREAM, 1)).data or b"")["payload"]["omitted"] is True
    finally:
        await client.close()
        await bus.close()


async def test_the_settings_bound_the_stream(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", nats_url)
    monkeypatch.setenv("JELMORE_EVENTS_MAX_AGE_S", "7200")
    monkeypatch.setenv("JELMORE_EVENTS_MAX_BYTES", "1000000")
    bus = Manager(load_settings(), slot=0).drivers.events
    client = await nats.connect(nats_url)
    try:
        await bus.connect()
        made = (await client.jetstream().stream_info(STREAM)).config
        assert (made.max_age, made.max_bytes) == (7200, 1_000_000)
    finally:
        await client.close()
        await bus.close()


async def test_an_operators_limits_are_kept(nats_url: str) -> None:
    bus = NatsEvents(nats_url, instance="test")
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    try:
        await bus.connect()
        changed = (await jetstream.stream_info(STREAM)).config
        changed.max_age, changed.subjects = 3600.0, ["jelmore.v1.session.>"]
        await jetstream.update_stream(changed)
        again = NatsEvents(nats_url, instance="test")
        await again.connect()
        found = (await jetstream.stream_info(STREAM)).config
        assert found.max_age == 3600
        assert set(found.subjects or []) == {"jelmore.v1.session.>", "jelmore.v1.system.>"}
        await again.close()
    finally:
        await client.close()
        await bus.close()
