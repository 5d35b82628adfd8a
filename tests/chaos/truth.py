"""What the stores hold of one session, read beside the manager."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg
import redis.asyncio

from tests.chaos.installation import Installation
from tests.chaos.workload import LEDGER

_CALL_S: Final = 10


@dataclass(frozen=True, slots=True)
class Truth:
    """One session in every store: `output` and `tail` are (seq, line), `events` (seq, type, payload)."""

    row: dict[str, Any]
    journal: list[dict[str, Any]]
    ledger: str
    output: list[tuple[int, str]]
    tail: list[tuple[int, str]]
    events: list[tuple[int, str, dict[str, Any]]]
    unpublished: int


async def read_truth(installation: Installation, session_id: str) -> Truth:
    """Return the session as each store has it now."""
    database = await asyncpg.connect(installation.database_url(), timeout=_CALL_S)
    try:
        key = UUID(session_id)
        row = await database.fetchrow("select * from sessions where id = $1", key, timeout=_CALL_S)
        output = await database.fetch(
            "select seq, text from output where session_id = $1 order by seq", key, timeout=_CALL_S
        )
        events = await database.fetch(
            "select seq, type, payload from events where session_id = $1 order by seq", key, timeout=_CALL_S
        )
        unpublished = await database.fetchval("select count(*) from outbox where session_id = $1", key, timeout=_CALL_S)
    finally:
        await database.close(timeout=_CALL_S)
    journal = await asyncio.to_thread(installation.kept_file, session_id, "state/journal.jsonl")
    ledger = await asyncio.to_thread(installation.kept_file, session_id, f"workspace/{LEDGER}")
    return Truth(
        dict(row or {}),
        [json.loads(line) for line in journal.splitlines()],
        ledger,
        [(each["seq"], each["text"]) for each in output],
        await _tail(installation, session_id),
        [(each["seq"], each["type"], json.loads(each["payload"])) for each in events],
        unpublished,
    )


async def rows(installation: Installation) -> dict[str, dict[str, Any]]:
    """Return every session's row."""
    database = await asyncpg.connect(installation.database_url(), timeout=_CALL_S)
    try:
        found = await database.fetch("select * from sessions", timeout=_CALL_S)
        return {str(row["id"]): dict(row) for row in found}
    finally:
        await database.close(timeout=_CALL_S)


async def members(installation: Installation) -> dict[str, str]:
    """Return the state of every member of the warm pool."""
    database = await asyncpg.connect(installation.database_url(), timeout=_CALL_S)
    try:
        return {
            str(row["id"]): row["state"] for row in await database.fetch("select id, state from pool", timeout=_CALL_S)
        }
    finally:
        await database.close(timeout=_CALL_S)


async def _tail(installation: Installation, session_id: str) -> list[tuple[int, str]]:
    client: Any = redis.asyncio.Redis.from_url(
        installation.redis_url(), decode_responses=True, protocol=2, socket_timeout=_CALL_S
    )
    try:
        entries = await client.xrange(f"session:{session_id}:output")
        return [(int(entry_id.partition("-")[0]), fields["t"]) for entry_id, fields in entries]
    finally:
        await client.aclose()
