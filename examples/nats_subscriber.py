"""Print every event from JetStream, once, through restarts of NATS and of this program.

    python examples/nats_subscriber.py --durable audit

Needs NATS_URL. The durable consumer remembers what was confirmed. An event is confirmed after it was handled; a crash
in between repeats it with the same `event_id`; a program that must not do its work twice stores the ids with that work.
"""

import argparse
import asyncio
import json
import os
import sys

import nats
from nats.errors import Error
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

STREAM = "JELMORE"
SUBJECT = "jelmore.v1.>"


handled: dict[str, None] = {}
"""The ids of the newest events, oldest first."""

MAX_REMEMBERED = 10_000


def is_new(event_id: str) -> bool:
    """Return whether an event was not handled before, and remember it."""
    if event_id in handled:
        return False
    handled[event_id] = None
    if len(handled) > MAX_REMEMBERED:
        del handled[next(iter(handled))]
    return True


async def handle(event: dict[str, object]) -> None:
    """Do the work of one event; here: print it."""
    print(json.dumps({"event_id": event["event_id"], "event_type": event["event_type"]}), flush=True)


async def follow(durable: str) -> None:
    """Handle events until something breaks. Raises an error of NATS or OSError."""

    async def say(error: Exception) -> None:
        print(f"nats: {error}", file=sys.stderr, flush=True)

    client = await nats.connect(os.environ["NATS_URL"], error_cb=say, connect_timeout=5, max_reconnect_attempts=-1)
    try:
        jetstream = client.jetstream()
        config = ConsumerConfig(
            durable_name=durable, deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.EXPLICIT, ack_wait=30
        )
        await jetstream.add_consumer(STREAM, config)  # also updates an existing one
        subscription = await jetstream.pull_subscribe(SUBJECT, durable=durable, stream=STREAM)
        while True:
            try:
                messages = await subscription.fetch(100, timeout=5)
            except NatsTimeoutError:
                continue  # nothing new
            for message in messages:
                event = json.loads(message.data)
                if is_new(event["event_id"]):
                    await handle(event)
                await message.ack_sync(timeout=5)
    finally:
        await client.close()


async def main() -> None:
    """Follow for ever; reconnect when anything fails."""
    parser = argparse.ArgumentParser(description="Print every event from JetStream.")
    parser.add_argument("--durable", default="example")
    chosen = parser.parse_args()
    while True:
        try:
            await follow(chosen.durable)
        except (Error, OSError, TimeoutError) as error:
            print(f"connecting again: {error!r}", file=sys.stderr, flush=True)
            await asyncio.sleep(1)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
