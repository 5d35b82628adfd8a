"""The subscriber on JetStream: one consumer over every session, which begins again when the stream is another one."""

import asyncio
import json
from contextlib import suppress
from typing import Any, Final

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from tests.chaos.cursors import Cursor
from tests.chaos.installation import Installation
from tests.chaos.notebook import Notebook
from tests.chaos.subscribers import event_mark

_CALL_S: Final = 5.0
_BATCH: Final = 200
_SUBJECT: Final = "jelmore.v1.session.>"


class Bus:
    """Follows the stream by its own numbers, so that whatever the fetch lost is fetched again."""

    def __init__(self, installation: Installation, notebook: Notebook) -> None:
        self._installation = installation
        self._notebook = notebook
        self._url = installation.nats_url()  # port and token stay the same when it is started again
        self._made = ""
        self._next = 1
        self._asked_from = 0
        self.cursors: dict[str, Cursor] = {}
        self.restarted = 0

    async def follow(self) -> None:
        """Follow for ever: again after each break, until cancelled."""
        while True:
            try:
                await self._once()
            except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError):
                await asyncio.sleep(0.3)

    async def _once(self) -> None:
        client = Client()
        try:
            connecting = client.connect(self._url, connect_timeout=2, allow_reconnect=False, error_cb=_quiet)
            await asyncio.wait_for(connecting, _CALL_S)
            jetstream = client.jetstream(timeout=_CALL_S)
            made = str((await jetstream.stream_info("JELMORE")).created)
            if made != self._made:
                self._begin(made)
            config = ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._next,
                ack_policy=AckPolicy.NONE,
                inactive_threshold=30,
            )
            subscription = await jetstream.pull_subscribe(_SUBJECT, stream="JELMORE", config=config)
            while True:
                try:
                    messages = await subscription.fetch(_BATCH, timeout=1)
                except TimeoutError:
                    if str((await jetstream.stream_info("JELMORE")).created) != made:
                        return
                    continue
                if not all(self._take(message) for message in messages):
                    return  # some were lost on the way to us: ask again from the last one
        finally:
            await _close(client)

    def _begin(self, made: str) -> None:
        if self._made:
            self.restarted += 1
            for cursor in self.cursors.values():
                cursor.gap()
        self._made, self._next, self._asked_from = made, 1, 0

    def _take(self, message: Any) -> bool:
        place = message.metadata.sequence.stream
        event = json.loads(message.data)
        cursor = self._cursor(event["session_id"])
        follows = event["seq"] == cursor.position + 1
        if place > self._next and not follows and self._asked_from != self._next:
            self._asked_from = self._next
            return False  # system events lie between too, so a hole in the stream's numbers alone says nothing
        if place >= self._next:
            self._next = place + 1
            cursor.take(event["seq"], event_mark(event))
        return True

    def _cursor(self, session_id: str) -> Cursor:
        return self.cursors.setdefault(session_id, Cursor(f"{session_id} events on JetStream", self._notebook))


async def _close(client: Client) -> None:
    """Close the connection, also one whose server never answered: the library leaves its socket open."""
    try:
        with suppress(nats.errors.Error, OSError, TimeoutError):
            await asyncio.wait_for(client.close(), _CALL_S)
    finally:
        if client._transport is not None:
            client._transport.close()  # type: ignore[no-untyped-call]


async def _quiet(_: Exception) -> None:
    return
