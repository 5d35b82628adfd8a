"""The command `republish`: publish stored events on NATS again, for a consumer that has lost them.

It fills the outbox in batches and waits while that is full; the managers publish. So neither memory nor the outbox
grows with the number of events, and what is new waits behind one batch at most.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from jelmore.command_audit import command_entry
from jelmore.drivers.postgres_operator import PostgresOperator
from jelmore.drivers.postgres_republish import Position, PostgresRepublish, Wanted
from jelmore.ports.operator import AuditEntry
from jelmore.session.errors import DependencyError, InvalidRequestError
from jelmore.settings import Settings

BATCH: Final = 500
MOST_WAITING: Final = 500
"""No batch is added while more events than this wait to be published."""

PATIENCE_S: Final = 60.0
"""How long the outbox may stay full without becoming smaller: then no manager publishes."""

_POLL_S: Final = 0.25

type Say = Callable[[str], None]


async def run(chosen: argparse.Namespace, settings: Settings, say: Say, *, patience_s: float = PATIENCE_S) -> int:
    """Do what was asked; return how many events were found. Each batch prints the cursor to continue after.

    Raises DependencyError when PostgreSQL does not answer, or no manager publishes for `patience_s`, and
    InvalidRequestError for what is no cursor.
    """
    url = settings.database_url.get_secret_value()
    wanted = Wanted(chosen.session, chosen.since, chosen.until)
    again = None if chosen.dry_run else uuid4().hex
    events, operator = PostgresRepublish(url), PostgresOperator(url)
    found, after = 0, wanted.start if chosen.after is None else _position(chosen.after)
    try:
        if again is not None:
            await operator.add_audit([_entry(wanted)])
        while True:
            if again is not None:
                await _until_published(events, patience_s, after)
            batch = await events.step(wanted, after, BATCH, again)
            if batch.last is None:
                break
            found, after = found + batch.found, batch.last
            if batch.found:
                say(f"{found} events; continue with --after {after}")
    finally:
        await operator.close()
        await events.close()
    say(f"{found} events {'would be' if again is None else 'are being'} published again")
    return found


async def _until_published(events: PostgresRepublish, patience_s: float, after: Position) -> None:
    """Return when the outbox has room. Raises DependencyError when it does not become smaller for `patience_s`."""
    least, seen_at = await events.waiting(), time.monotonic()
    while least > MOST_WAITING:
        await asyncio.sleep(_POLL_S)
        now = await events.waiting()
        if now < least:
            least, seen_at = now, time.monotonic()
        elif time.monotonic() - seen_at > patience_s:
            raise DependencyError(
                "outbox", f"{now} events wait and nobody publishes them; is a manager running? Then: --after {after}"
            )


def _position(text: str) -> Position:
    try:
        return Position.parse(text)
    except ValueError:
        raise InvalidRequestError(f"--after: {text!r} is no cursor that this command printed") from None


def _entry(wanted: Wanted) -> AuditEntry:
    words = wanted.session_id or f"since {wanted.since and wanted.since.isoformat()}"
    return command_entry("republish_events", str(words), "begun")
