"""Events on NATS JetStream: one stream for events, one for messages that consumers gave up on.

The library's own reconnect is off: it would deliver messages from its backlog that we have already reported as lost.
A lost connection raises an error, and the next call opens a new one.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

from nats.aio.client import Client
from nats.errors import AuthorizationError, Error, NoRespondersError
from nats.js.api import DiscardPolicy, Header, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from jelmore.drivers.nats_bodies import PREFIX, body, message_id, subject, subjects_of
from jelmore.ports import StoredEvent
from jelmore.session.errors import DependencyError, RefusedError

log = logging.getLogger(__name__)

DEPENDENCY: Final = "nats"
STREAM: Final = "JELMORE"
DEAD_LETTERS: Final = "JELMORE_DLQ"

DEDUPLICATION_S: Final = 3600
_ADVISORY: Final = "$JS.EVENT.ADVISORY.CONSUMER"
_IN_FLIGHT: Final = 256
_SLOWEST_BYTES_PER_S: Final = 256 * 1024
"""The slowest connection that is supported: a larger event gets a longer deadline."""

_MAX_BYTES: Final = 64 * 1024 * 1024
"""The largest message size that a NATS server can be configured for."""

_HEADER_BYTES: Final = 1024
"""Reserved for the headers, which count towards the message size."""

_UNTAKEN_S: Final = 20.0
"""How long a failed attempt to publish counts. Another one follows sooner, unless another manager makes it."""

_RESTART: Final = "after a full disk it stores nothing until it is restarted"

_WHOLE: Final = "Events of Jelmore's sessions"
_TO_FILL: Final = "Events of Jelmore's sessions; those of earlier are still to be published again"
"""Description of a stream that we created and have not refilled yet. It survives a crash in between."""


class NatsEvents:
    """The `Events` port. `max_age_s` and `max_bytes` limit a stream that we create; 0 means no limit."""

    def __init__(
        self,
        url: str,
        *,
        instance: str,
        max_age_s: float = 0,
        max_bytes: int = 0,
        timeout_s: float = 5,
    ) -> None:
        self._url = url
        self._instance = instance
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._jetstream: Any = None
        self._gone: asyncio.Future[Any] | None = None  # done when the connection is lost
        self._connecting = asyncio.Lock()
        self._ready = False  # the streams were checked on this connection
        self._to_fill: str | None = None  # the id of a stream that must still be refilled
        self._untaken: tuple[float, str] | None = None  # when and how events were not taken, on a connection that holds
        self._most_bytes = _MAX_BYTES  # the largest known message size that the stream accepts

    async def check(self) -> None:
        """Return when NATS answers, the stream exists, and it took the events of the last attempt.

        A stream whose disk was full answers questions, and takes no event any more.
        """
        async with self._deadline():
            await (await self._connected()).stream_info(STREAM)
        if self._untaken is not None and time.monotonic() - self._untaken[0] < _UNTAKEN_S:
            raise DependencyError(DEPENDENCY, f"it answers, but takes no events ({self._untaken[1]}): {_RESTART}")

    async def connect(self) -> str | None:
        """Connect and create missing streams; return the id of the event stream while it must be refilled.

        See the port. May run twice; cheap while the connection holds.
        """
        if self._ready and self._client and self._client.is_connected:
            return self._to_fill
        self._ready = False
        async with self._deadline():
            jetstream = await self._connected()
            made, created = await self._make_sure(jetstream, self._events_stream())
            self._to_fill = created if made.description == _TO_FILL else None
            limits = [limit for limit in (made.max_msg_size, made.max_bytes) if limit and limit > 0]
            self._most_bytes = min([*limits, _MAX_BYTES])
            await self._make_sure(jetstream, _dead_letter_stream())
        self._ready = True
        return self._to_fill

    async def publish(self, events: Sequence[StoredEvent]) -> int:
        """Publish in order; return how many, counted from the first, were acknowledged. Raises when none was."""
        acknowledged = 0
        try:
            while acknowledged < len(events):
                some = events[acknowledged : acknowledged + _IN_FLIGHT]
                answers: list[asyncio.Future[Any]] = []
                try:
                    await self._publish(some, answers)
                finally:
                    acknowledged += _acknowledged(answers)
            self._untaken = None
        except DependencyError as error:
            if self._client is not None and self._client.is_connected:
                self._untaken = (time.monotonic(), str(error))
            await self._give_up()
            if not acknowledged:
                raise
        except BaseException:
            await self._give_up()
            raise
        return acknowledged

    async def purge(self, session_id: UUID) -> int:
        """Remove the published events of a session; see the port."""
        subjects = subjects_of(session_id)
        async with self._deadline():
            jetstream = await self._connected()
            held = await _held(jetstream, subjects)
            if held:
                await jetstream.purge_stream(STREAM, subject=subjects)
                if await _held(jetstream, subjects):
                    raise DependencyError(DEPENDENCY, "events of the session are left after a purge")
        return held

    async def close(self) -> None:
        """Close the connection. May run twice."""
        client, self._client, self._jetstream = self._client, None, None
        if client is not None:
            with contextlib.suppress(Exception):  # errors of a broken connection do not matter
                await asyncio.wait_for(client.close(), self._timeout_s)

    async def _publish(self, events: Sequence[StoredEvent], answers: list[asyncio.Future[Any]]) -> None:
        """Send without waiting for each answer. One connection keeps the order, so a lost one loses only the end."""
        async with self._deadline():
            jetstream = await self._connected()
        client, gone = self._client, self._gone
        if client is None or gone is None:
            raise DependencyError(DEPENDENCY, "closed")
        most_bytes = min(client.max_payload, self._most_bytes) - _HEADER_BYTES
        bodies = [body(event, self._instance, most_bytes) for event in events]
        try:
            async with self._deadline(more_s=sum(map(len, bodies)) / _SLOWEST_BYTES_PER_S):
                for event, content in zip(events, bodies, strict=True):
                    headers = {Header.MSG_ID.value: message_id(event)}
                    answers.append(
                        await jetstream.publish_async(
                            subject(event), content, wait_stall=self._timeout_s, stream=STREAM, headers=headers
                        )
                    )
                await _all_answered(answers, gone)
        finally:
            for answer in answers:
                answer.cancel()
            await asyncio.gather(*answers, return_exceptions=True)

    async def _give_up(self) -> None:
        """Close the connection, so that its unsent messages do not mix with those that are sent again."""
        self._ready = False  # check the stream again before the next attempt
        await self.close()

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is not None and self._client.is_connected:
                return self._jetstream
            await self.close()
            self._ready = False
            client, gone = Client(), asyncio.get_running_loop().create_future()

            async def closed() -> None:
                if not gone.done():
                    gone.set_result(None)

            try:
                await client.connect(
                    self._url,
                    name=f"jelmore-{self._instance}",
                    allow_reconnect=False,
                    max_reconnect_attempts=1,  # counts the first connection too; 0 means no limit
                    reconnect_time_wait=0,
                    connect_timeout=max(1, int(self._timeout_s)),
                    error_cb=_ignore_error,
                    closed_cb=closed,
                    ping_interval=10,
                    max_outstanding_pings=2,
                )
            except BaseException:
                with contextlib.suppress(Exception):
                    await client.close()
                raise
            self._client, self._gone = client, gone
            self._jetstream = client.jetstream(timeout=self._timeout_s)
            return self._jetstream

    async def _make_sure(self, jetstream: Any, wanted: StreamConfig) -> tuple[StreamConfig, str]:
        """Return the stream's configuration and creation time. Changes by an operator are kept."""
        try:
            info = await jetstream.stream_info(wanted.name)
        except NotFoundError:
            info = await jetstream.add_stream(wanted)
            log.info("made the stream %s", wanted.name)
        found = info.config
        if set(found.subjects or []) != set(wanted.subjects or []):
            found.subjects = wanted.subjects
            await jetstream.update_stream(found)
        kept: StreamConfig = found
        return kept, str(info.created)

    async def filled(self) -> None:
        """Mark the stream as refilled with earlier events. May run twice."""
        async with self._deadline():
            jetstream = await self._connected()
            found = (await jetstream.stream_info(STREAM)).config
            found.description = _WHOLE
            await jetstream.update_stream(found)
        self._to_fill = None

    def _events_stream(self) -> StreamConfig:
        return StreamConfig(
            name=STREAM,
            description=_TO_FILL,
            subjects=[f"{PREFIX}.session.>", f"{PREFIX}.system.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=self._max_age_s,
            max_bytes=self._max_bytes or -1,
            duplicate_window=min(DEDUPLICATION_S, self._max_age_s or DEDUPLICATION_S),
        )

    @asynccontextmanager
    async def _deadline(self, *, more_s: float = 0) -> AsyncIterator[None]:
        """Run the block with a deadline, and convert errors of nats-py and the socket to ours."""
        try:
            async with asyncio.timeout(self._timeout_s + more_s):
                yield
        except AuthorizationError as error:
            raise RefusedError(DEPENDENCY, str(error)) from None
        except NotFoundError:
            raise DependencyError(DEPENDENCY, f"the stream {STREAM} is not there") from None
        except NoRespondersError:
            raise DependencyError(DEPENDENCY, f"JetStream does not answer: {_RESTART}") from None
        except TimeoutError:
            raise DependencyError(DEPENDENCY, "no answer in time") from None
        except (Error, OSError, EOFError) as error:
            raise DependencyError(DEPENDENCY, f"{type(error).__name__}: {error}") from None


async def _all_answered(answers: Sequence[asyncio.Future[Any]], gone: asyncio.Future[Any]) -> None:
    """Return when all were acknowledged. Raises the error of the first bad answer, or of a lost connection."""
    everything: asyncio.Future[Any] = asyncio.gather(*answers)
    try:
        await asyncio.wait([everything, gone], return_when=asyncio.FIRST_COMPLETED)
        if not everything.done():
            raise DependencyError(DEPENDENCY, "the connection was lost")
        everything.result()
    finally:
        everything.cancel()
        await asyncio.gather(everything, return_exceptions=True)


async def _held(jetstream: Any, subjects: str) -> int:
    """Return how many events with these subjects the stream holds."""
    counts = (await jetstream.stream_info(STREAM, subjects_filter=subjects)).state.subjects or {}
    return sum(counts.values())


def _acknowledged(answers: Sequence[asyncio.Future[Any]]) -> int:
    """Return how many, counted from the first, were acknowledged."""
    wells = (answer.done() and not answer.cancelled() and answer.exception() is None for answer in answers)
    return next((place for place, well in enumerate(wells) if not well), len(answers))


def _dead_letter_stream() -> StreamConfig:
    """Return the stream of advisories about undelivered messages. They name the message's place in the event stream."""
    kinds = ("MAX_DELIVERIES", "MSG_TERMINATED")
    return StreamConfig(
        name=DEAD_LETTERS,
        description="What consumers of Jelmore's events gave up on; stream_seq names the event",
        subjects=[f"{_ADVISORY}.{kind}.{STREAM}.>" for kind in kinds],
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=30 * 86400,
        max_bytes=64 * 1024 * 1024,
    )


async def _ignore_error(error: Exception) -> None:
    log.debug("nats: %s: %s", type(error).__name__, error)
