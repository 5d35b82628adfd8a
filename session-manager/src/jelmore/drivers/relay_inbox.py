"""What a relay has received and nobody has read yet: bounded, and in the order of the runner's journal."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import aiohttp

from jelmore.drivers.relay_pace import Pace
from jelmore.ports import BrokenOutputError, Delta, PublicClients, RelayBreak
from jelmore.session.errors import DependencyError, JelmoreError
from jelmore.session.output import MAX_STORED_LINE_BYTES, Output, parse, unreadable
from jelmore_protocol.events import read_json
from jelmore_protocol.json_bounds import has_too_many_values
from jelmore_protocol.public_clients import ClientsFrame

BATCH_OUTPUTS: Final = 500
BATCH_BYTES: Final = 1024 * 1024
"""Small, so that the store can alternate between the batches of many sessions."""

MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""What all relays of this process hold at most, beside one frame of each."""

MAX_DELTA_CHARACTERS: Final = 64 * 1024
"""A longer delta is dropped: each reader that is behind holds hundreds of them, and the whole message follows."""

_MAX_WITH_ANY_VALUES: Final = 64 * 1024
"""Longer frames that are not output are parsed only if they have few values. A `hello` holds the pending requests."""


type Item = Delta | PublicClients
"""What a relay brings beside output."""


@dataclass(slots=True)
class WaitingBytes:
    """The bytes in all inboxes."""

    bytes: int = 0


@dataclass(slots=True)
class Inbox:
    """Frames that have arrived and are not read yet. Bounded, so that a slow reader slows the runner down."""

    after: int
    session_id: str
    items: deque[tuple[int, Output | Item]] = field(default_factory=deque)  # with the bytes of each
    bytes: int = 0
    head: int = 0  # the runner's newest seq when the relay began
    ended: BaseException | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: WaitingBytes = field(default_factory=WaitingBytes)

    async def put(self, item: Output | Item, size: int) -> None:
        """Add one item. Waits while the inbox is full, or all inboxes together are; an empty one takes one item."""
        while self.items and self._is_full(size):
            self.room.clear()
            await self.room.wait()
        self.items.append((size, item))
        self._count(size)
        self.arrived.set()

    def _is_full(self, size: int) -> bool:
        is_own = len(self.items) >= BATCH_OUTPUTS or self.bytes + size > BATCH_BYTES
        return is_own or self.waiting.bytes + size > MAX_WAITING_BYTES

    def _count(self, size: int) -> None:
        self.bytes += size
        self.waiting.bytes += size

    def release(self) -> None:
        """Drop what nobody will take. May run twice."""
        self.items.clear()
        self._count(-self.bytes)

    def skips(self, message: aiohttp.WSMessage) -> bool:
        """Skip a line that is too long to receive. Return False when the frame may have been something else."""
        code = getattr(message.data, "code", None)
        if code != aiohttp.WSCloseCode.MESSAGE_TOO_BIG or self.after >= self.head:
            return False  # beyond `head` it may be a delta: the next relay has a newer head and can decide
        self.after += 1
        return True

    def end(self, error: BaseException) -> None:
        """Mark the inbox as ended by `error`. Items that have arrived can still be taken."""
        self.ended = error
        self.arrived.set()

    async def take(self) -> list[Output] | Item:
        """Return the outputs up to the next other item, or that item. Raises the stream's error after the last item."""
        while not self.items:
            if self.ended is not None:
                raise self.ended
            self.arrived.clear()
            await self.arrived.wait()
        batch: list[Output] = []
        while self.items:
            size, item = self.items[0]
            if not isinstance(item, Output):
                if batch:
                    break
                self._drop(size)
                return item
            self._drop(size)
            batch.append(item)
        return batch

    def _drop(self, size: int) -> None:
        self.items.popleft()
        self._count(-size)
        self.room.set()


async def pump(websocket: aiohttp.ClientWebSocketResponse, inbox: Inbox) -> None:
    """Move frames into the inbox until the connection ends; then store the reason in the inbox."""
    pace = Pace()
    try:
        while True:
            message = await websocket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                if inbox.skips(message):
                    why = f"a line of more than {MAX_STORED_LINE_BYTES} bytes was left out"
                    await inbox.put(unreadable(inbox.after, datetime.now(UTC), 0, why), 1)
                inbox.end(RelayBreak(f"the relay ended ({message.type.name.lower()}, {websocket.close_code})"))
                return
            text: str = message.data
            item = read_frame(text, inbox)
            if item is not None:
                await inbox.put(item, len(text))
            if not isinstance(item, Output) and (wait_s := pace.wait_s(len(text))):
                await asyncio.sleep(wait_s)  # a runner that floods is slowed down, and the others are not
    except JelmoreError as error:
        inbox.end(error)
    except (aiohttp.ClientError, OSError) as error:
        inbox.end(RelayBreak(f"the relay broke: {str(error) or type(error).__name__}"))
    except Exception as error:  # noqa: BLE001 - an error here must reach the reader of the inbox
        inbox.end(error)


def read_frame(text: str, inbox: Inbox) -> Output | Item | None:
    """Return the content of a frame, None for one to skip. Advances the inbox's seq.

    Raises BrokenOutputError at a hole.
    """
    # Deltas are not parsed: this side does not use their content, and there are many.
    if text.startswith('{"type":"delta"'):
        return Delta(text) if len(text) <= MAX_DELTA_CHARACTERS else None
    if text.startswith(('{"type":"event",', '{"type": "event",')):
        return _output(parse(text), text, inbox)
    if len(text) > _MAX_WITH_ANY_VALUES and has_too_many_values(text):
        raise BrokenOutputError(f"the runner sent a frame of {len(text)} characters that is no output")
    try:
        frame = read_json(text)
        kind = frame["type"]
        if kind == "event":
            return _output(parse(text), text, inbox)
        if kind == "hello":
            if frame["session_id"] != inbox.session_id:
                raise DependencyError("runner", f"session {frame['session_id']} answers for {inbox.session_id}")
            inbox.head = int(frame["seq"])
            if inbox.head < inbox.after:
                raise BrokenOutputError(f"the runner is at {inbox.head}, but {inbox.after} is stored already")
        if kind == "clients":
            return _clients(text)
        return Delta(text) if kind == "delta" and len(text) <= MAX_DELTA_CHARACTERS else None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise DependencyError("runner", "the relay sent something that is not a frame") from None


def _clients(text: str) -> PublicClients | None:
    """Return who a runner says is connected; None when it cannot be read, which hurts the list of people only."""
    try:
        frame = ClientsFrame.model_validate_json(text)
    except ValueError:
        return None
    return PublicClients({each.subject: each.can_write for each in frame.clients})


def _output(output: Output | None, text: str, inbox: Inbox) -> Output | None:
    """Return the next output. One that cannot be parsed is replaced by a mark, so that the relay continues after it."""
    if output is None:
        output = unreadable(inbox.after + 1, datetime.now(UTC), len(text), "a line could not be read")
    if output.seq <= inbox.after:
        return None  # sent twice
    if output.seq != inbox.after + 1:
        raise BrokenOutputError(f"output {inbox.after + 1} is missing: the runner continued with {output.seq}")
    inbox.after = output.seq
    return output
