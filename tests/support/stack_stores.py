"""What a stack's stores hold of a session, read beside the manager, so that its answers can be checked."""

import json
from typing import Any
from uuid import UUID

import asyncpg
import nats
import redis.asyncio
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from tests.support.stack import Stack

_CALL_S = 10


async def rows(stack: Stack, session_id: str, table: str = "output") -> list[int]:
    """Return the seqs in a table of PostgreSQL, in their order of storage."""
    connection = await asyncpg.connect(stack.database_url(), timeout=_CALL_S)
    try:
        query = f"select seq from {table} where session_id = $1 order by seq"
        return [row["seq"] for row in await connection.fetch(query, UUID(session_id), timeout=_CALL_S)]
    finally:
        await connection.close(timeout=_CALL_S)


async def signing_key(stack: Stack) -> str:
    """Return the key with which the installation signs its tokens."""
    connection = await asyncpg.connect(stack.database_url(), timeout=_CALL_S)
    try:
        return str(await connection.fetchval("select private_key from signing_keys", timeout=_CALL_S))
    finally:
        await connection.close(timeout=_CALL_S)


async def stream_entries(stack: Stack, session_id: str) -> list[tuple[str, Any]]:
    """Return id and frame of every entry in the session's Redis stream."""
    client: Any = redis.asyncio.Redis.from_url(stack.redis_url(), decode_responses=True, protocol=2)
    try:
        entries = await client.xrange(f"session:{session_id}:output")
        return [(entry_id, json.loads(fields["t"])) for entry_id, fields in entries]
    finally:
        await client.aclose()


async def published(stack: Stack, session_id: str, count: int) -> list[dict[str, Any]]:
    """Return the session's events on JetStream in the order of the stream, once there are `count`, and any beyond."""
    client = await nats.connect(stack.nats_url(), connect_timeout=_CALL_S)
    try:
        jetstream = client.jetstream()
        subject = f"jelmore.v1.session.{session_id}.>"
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, inactive_threshold=60, filter_subject=subject
        )
        subscription = await jetstream.pull_subscribe(subject, stream="JELMORE", config=config)
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found += [_with_header(each) for each in await subscription.fetch(count - len(found), timeout=_CALL_S)]
        left = (await subscription.consumer_info()).num_pending
        if left:
            found += [_with_header(each) for each in await subscription.fetch(left, timeout=_CALL_S)]
        return found
    finally:
        await client.close()


def _with_header(message: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(message.data)
    return {**body, "subject_of_message": message.subject, "message_id": message.headers["Nats-Msg-Id"]}
