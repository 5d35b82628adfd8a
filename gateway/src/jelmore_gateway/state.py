"""What the gateway must not forget: registrations, configuration, metered usage and refresh tokens it was given.

One SQLite file in a folder that only the gateway's user may enter. Every call runs on one thread of its own, so a slow
disk never stops the event loop. A committed change survives a crash of the process. A crash of the machine may take the
last seconds, which saves a disk flush in each call; the containers do not survive it either.
"""

import asyncio
import json
import os
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jelmore_protocol.gateway import MAX_CALLS, CallRecord, GatewayConfig, SandboxEntry

MAX_KEPT_CALLS: Final = 1_000_000
"""Older records are dropped: a manager that was away for that long has lost them."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sandboxes (key TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refresh_tokens (name TEXT PRIMARY KEY, sealed TEXT NOT NULL, key_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (seq INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
"""


class StateError(Exception):
    """The state cannot be read or written. The text says why."""


class State:
    """The stored state. Open it with `open`, close it with `close`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gateway-state")
        self._db: sqlite3.Connection | None = None
        self.gateway = ""
        self.calls_seq = 0

    async def open(self) -> tuple[list[SandboxEntry], GatewayConfig]:
        """Create or open the state; return the registrations and the configuration. Raises StateError."""
        return await self._call(self._open)

    async def close(self) -> None:
        """Close the state. May run twice."""
        await self._call(self._close)
        self._thread.shutdown(wait=False)

    async def keep_sandbox(self, entry: SandboxEntry) -> None:
        """Store a registration in place of any earlier one with its key. Raises StateError."""
        text = entry.model_dump_json()
        await self._write("INSERT OR REPLACE INTO sandboxes (key, body) VALUES (:key, :body)", key=entry.key, body=text)

    async def drop_sandbox(self, key: str) -> None:
        """Forget a registration. Absent is success. Raises StateError."""
        await self._write("DELETE FROM sandboxes WHERE key = :key", key=key)

    async def keep_config(self, config: GatewayConfig) -> None:
        """Store the configuration. Raises StateError."""
        await self._write("INSERT OR REPLACE INTO meta VALUES ('config', :config)", config=config.model_dump_json())

    async def refresh_token(self, name: str) -> tuple[str, str] | None:
        """Return an encrypted refresh token and the id of its key, None when there is none. Raises StateError."""
        rows = await self._call(
            lambda: self._rows("SELECT sealed, key_id FROM refresh_tokens WHERE name = :name", name=name)
        )
        return rows[0] if rows else None

    async def keep_refresh_token(self, name: str, sealed: str, key_id: str, *, in_place_of: str | None = None) -> None:
        """Store an encrypted refresh token in place of the one before; with `in_place_of`, only of that one.

        On return it is on disk: after a crash of the machine, the one before is worth nothing. Raises StateError.
        """

        values = {"name": name, "sealed": sealed, "key_id": key_id, "before": in_place_of}
        store = "INSERT OR REPLACE INTO refresh_tokens VALUES (:name, :sealed, :key_id)"
        if in_place_of is not None:
            store = (
                "UPDATE refresh_tokens SET sealed = :sealed, key_id = :key_id WHERE name = :name AND sealed = :before"
            )

        def write() -> None:
            db = self._opened()
            db.execute("PRAGMA synchronous = FULL")
            try:
                with db:
                    db.execute(store, values)
            finally:
                db.execute("PRAGMA synchronous = NORMAL")

        await self._call(write)

    async def keep_refresh_tokens_of(self, names: Sequence[str]) -> None:
        """Forget every refresh token of another name. Raises StateError."""
        kept = "SELECT value FROM json_each(:names)"
        await self._write(f"DELETE FROM refresh_tokens WHERE name NOT IN ({kept})", names=json.dumps(list(names)))  # noqa: S608

    async def add_call(self, record: CallRecord) -> None:
        """Store a record under the next seq; its own is ignored. Raises StateError."""
        text = record.model_dump_json(exclude={"seq"})
        self.calls_seq = await self._write("INSERT INTO calls (body) VALUES (:body)", body=text)
        if self.calls_seq % 1000 == 0:
            await self._write("DELETE FROM calls WHERE seq <= :seq", seq=self.calls_seq - MAX_KEPT_CALLS)

    async def calls_after(self, seq: int) -> list[CallRecord]:
        """Return the oldest records after `seq`, MAX_CALLS at most. Raises StateError."""
        query = "SELECT seq, body FROM calls WHERE seq > :seq ORDER BY seq LIMIT :most"
        rows = await self._call(lambda: self._rows(query, seq=seq, most=MAX_CALLS))
        return [CallRecord.model_validate_json(body[:-1] + f',"seq":{number}}}') for number, body in rows]

    async def _write(self, statement: str, **values: object) -> int:
        def write() -> int:
            db = self._opened()
            with db:
                return db.execute(statement, values).lastrowid or 0

        return await self._call(write)

    async def _call[T](self, work: Callable[[], T]) -> T:
        try:
            # Not cut short by a cancellation: a metered call must be stored even when its client has gone.
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))
        except sqlite3.Error as error:
            raise StateError(f"{self._folder}: {error}") from None
        except OSError as error:
            raise StateError(f"{self._folder}: {error.strerror}") from None

    def _open(self) -> tuple[list[SandboxEntry], GatewayConfig]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / "gateway.db"
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = db = sqlite3.connect(path, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        with db:
            db.executescript(_SCHEMA)
            db.execute("INSERT OR IGNORE INTO meta VALUES ('gateway', :id)", {"id": str(uuid.uuid4())})
        meta = dict(self._rows("SELECT name, value FROM meta"))
        self.gateway = meta["gateway"]
        self.calls_seq = self._rows("SELECT coalesce(max(seq), 0) FROM calls")[0][0]
        sandboxes = [SandboxEntry.model_validate_json(body) for (body,) in self._rows("SELECT body FROM sandboxes")]
        config = GatewayConfig.model_validate_json(meta["config"]) if "config" in meta else GatewayConfig(digest="")
        return sandboxes, config

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise StateError(f"{self._folder}: the state is closed")
        return self._db

    def _rows(self, statement: str, **values: object) -> list[Any]:
        return self._opened().execute(statement, values).fetchall()


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)
