"""`Runners` over HTTP and one WebSocket on a runner's control socket.

Each call opens its own connection: on a unix socket that costs less than detecting that a kept connection belongs to a
removed container.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel

from jelmore.drivers.relay_pace import Pace
from jelmore.drivers.runner_answers import bounded, parsed, refusal_error, translated
from jelmore.drivers.runner_http import CONNECT_S, opened_session
from jelmore.ports import BrokenOutputError, ControlAddress, Delta, RelayBreak
from jelmore.session.errors import (
    AlreadyAnsweredError,
    ConflictError,
    DependencyError,
    InvalidRequestError,
    JelmoreError,
    RefusedError,
    SessionEndedError,
    UnknownRequestError,
)
from jelmore.session.output import MAX_LINE_BYTES, Output, parse, unreadable
from jelmore_protocol import control
from jelmore_protocol.content import MAX_ATTACHMENT_BYTES
from jelmore_protocol.events import read_json
from jelmore_protocol.json_bounds import has_too_many_values
from jelmore_protocol.tracing import CURRENT, Kind, NoTracing, Tracing, carried

CALL_S: Final = 10.0
INIT_S: Final = 30.0
COMMAND_S: Final = 30.0
"""Deadline of commands that the runner passes to Claude Code. Above the runner's own deadline of 20 s."""

HEARTBEAT_S: Final = 20.0
MAX_CALLS: Final = 200
BATCH_OUTPUTS: Final = 500
BATCH_BYTES: Final = 1024 * 1024
"""Small, so that the store can alternate between the batches of many sessions."""

MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""What all relays of this process hold at most, beside one frame of each."""

MAX_DELTA_CHARACTERS: Final = 64 * 1024
"""A longer delta is dropped: each reader that is behind holds hundreds of them, and the whole message follows."""

_MAX_WITH_ANY_VALUES: Final = 64 * 1024
"""Longer frames that are not output are parsed only if they have few values. A `hello` holds the pending requests."""


class RunnerLink:
    """All runners that this manager calls. At most `MAX_CALLS` calls at once; relays are counted separately."""

    def __init__(self, *, call_s: float = CALL_S, tracing: Tracing | None = None) -> None:
        self._call_s = call_s
        self._room = asyncio.Semaphore(MAX_CALLS)
        self._waiting = _Waiting()
        self._tracing = tracing or NoTracing()

    async def health(self, at: ControlAddress) -> control.Health:
        """Return the runner's health."""
        return await self._call(at, "GET", "/health", None, control.Health)

    async def prepare(self, at: ControlAddress, prepare: control.Prepare) -> control.Health:
        """Have the agent of a dormant runner started ahead."""
        return await self._call(at, "POST", "/prepare", prepare, control.Health)

    async def init(self, at: ControlAddress, init: control.Init) -> control.Health:
        """Give a dormant runner its session."""
        return await self._call(at, "POST", "/init", init, control.Health, within_s=max(self._call_s, INIT_S))

    async def input(self, at: ControlAddress, request: control.InputRequest) -> control.InputAccepted:
        """Send a prompt. Returns when it is journaled."""
        return await self._call(at, "POST", "/input", request, control.InputAccepted)

    async def interrupt(self, at: ControlAddress) -> None:
        """Stop the running turn, if any."""
        await self._call(at, "POST", "/interrupt", None, control.Health, within_s=COMMAND_S)

    async def answer(
        self, at: ControlAddress, request_id: str, answer: control.PermissionAnswer
    ) -> control.InputAccepted:
        """Answer a pending permission or question."""
        path = f"/permissions/{quote(request_id, safe='')}"
        try:
            return await self._call(at, "POST", path, answer, control.InputAccepted)
        except SessionEndedError:
            raise
        except ConflictError as error:
            raise AlreadyAnsweredError(str(error)) from None
        except RefusedError as error:  # the answer does not fit the request
            raise InvalidRequestError(str(error).removeprefix("runner: ")) from None

    async def ask_egress(self, at: ControlAddress, asked: control.EgressAsk) -> control.InputAccepted:
        """Journal that a connection waits for a person."""
        return await self._call(at, "POST", "/egress-requests", asked, control.InputAccepted)

    async def settle_egress(
        self, at: ControlAddress, request_id: str, outcome: control.EgressOutcome
    ) -> control.InputAccepted:
        """Journal what became of a connection."""
        return await self._call(
            at, "POST", f"/egress-requests/{quote(request_id, safe='')}", outcome, control.InputAccepted
        )

    async def set_model(self, at: ControlAddress, change: control.Change) -> None:
        """Change the model of the running conversation."""
        await self._call(at, "POST", "/model", change, control.Health, within_s=COMMAND_S)

    async def set_permission_mode(self, at: ControlAddress, change: control.Change) -> None:
        """Change the permission mode of the running conversation."""
        await self._call(at, "POST", "/permission-mode", change, control.Health, within_s=COMMAND_S)

    async def set_effort(self, at: ControlAddress, change: control.Change) -> None:
        """Change the effort of the running conversation."""
        await self._call(at, "POST", "/effort", change, control.Health, within_s=COMMAND_S)

    async def set_answer_within(self, at: ControlAddress, within: control.AnswerWithin) -> None:
        """Change how long later permissions and questions wait before they are denied."""
        await self._call(at, "POST", "/answer-within", within, control.Health)

    async def commands(self, at: ControlAddress) -> control.Commands:
        """Return the slash commands of the running agent."""
        return await self._call(at, "GET", "/commands", None, control.Commands, within_s=COMMAND_S)

    async def mcp_servers(self, at: ControlAddress) -> control.McpServers:
        """Return the MCP servers of the running agent."""
        return await self._call(at, "GET", "/mcp", None, control.McpServers, within_s=COMMAND_S)

    async def reconnect_mcp(self, at: ControlAddress, wanted: control.McpReconnect) -> None:
        """Connect to an MCP server again."""
        await self._call(at, "POST", "/mcp/reconnect", wanted, control.Health, within_s=COMMAND_S)

    async def toggle_mcp(self, at: ControlAddress, wanted: control.McpToggle) -> None:
        """Use an MCP server, or do not."""
        await self._call(at, "POST", "/mcp/toggle", wanted, control.Health, within_s=COMMAND_S)

    async def attachment(self, at: ControlAddress, attachment_id: str) -> bytes:
        """Return the data of an attachment. Raises UnknownRequestError without one."""
        path = f"/attachments/{quote(attachment_id, safe='')}"
        async with (
            translated(COMMAND_S),
            self._room,
            opened_session(at) as (session, base),
            session.get(base + path) as response,
        ):
            content = await bounded(response, MAX_ATTACHMENT_BYTES)
        if response.status == HTTPStatus.NOT_FOUND:
            raise UnknownRequestError(f"there is no attachment {attachment_id}")
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise refusal_error(response.status, content)
        return content

    async def limit_workspace(self, at: ControlAddress, limit: control.WorkspaceLimit) -> None:
        """Change what the session's volume may hold."""
        await self._call(at, "POST", "/workspace-limit", limit, control.Health)

    async def limit_output(self, at: ControlAddress, limits: control.OutputLimits) -> None:
        """Change how much output is journaled whole."""
        await self._call(at, "POST", "/output-limits", limits, control.Health)

    async def queue(self, at: ControlAddress) -> control.Queue:
        """Return the inputs that wait for the agent."""
        return await self._call(at, "GET", "/queue", None, control.Queue)

    async def change_input(self, at: ControlAddress, change: control.ChangeInput) -> control.InputAccepted:
        """Give a waiting input another text."""
        return await self._call(at, "POST", "/queue/change", change, control.InputAccepted)

    async def cancel_input(self, at: ControlAddress, cancel: control.CancelInput) -> control.InputAccepted:
        """Remove a waiting input."""
        return await self._call(at, "POST", "/queue/cancel", cancel, control.InputAccepted)

    async def budget(self, at: ControlAddress, budget: control.Budget) -> None:
        """Change the spending from which inputs wait."""
        await self._call(at, "POST", "/budget", budget, control.Health)

    async def set_draining(self, at: ControlAddress, draining: control.Draining) -> None:
        """Start or end draining: disconnect public clients before a pause, or accept them again."""
        await self._call(at, "POST", "/quiet", draining, control.Health)

    async def revoke(self, at: ControlAddress, revoke: control.Revoke) -> None:
        """Close the public connections of these subjects and refuse their tokens from now on."""
        await self._call(at, "POST", "/revoke", revoke, control.Health)

    async def stop(self, at: ControlAddress, stop: control.Stop) -> None:
        """Start to end the agent. Does not wait for its end."""
        await self._call(at, "POST", "/stop", stop, control.Health)

    async def relay(self, at: ControlAddress, after: int) -> AsyncGenerator[list[Output] | Delta]:
        """Yield deltas, and output journaled after seq `after`. Close the iterator (`aclosing`) to end it early."""
        async with opened_session(at) as (session, base):
            async with translated(CONNECT_S):
                websocket = await session.ws_connect(
                    f"{base}/relay?after={after}",
                    heartbeat=HEARTBEAT_S,
                    max_msg_size=MAX_LINE_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CONNECT_S),
                )
            inbox = _Inbox(after, str(at.session_id), waiting=self._waiting)
            pump = asyncio.create_task(_pump(websocket, inbox), name=f"relay {at.text}")
            try:
                while True:
                    yield await inbox.take()
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)
                self._waiting.bytes -= inbox.bytes
                await asyncio.shield(websocket.close())

    async def close(self) -> None:
        """Do nothing: no connection is kept between calls."""

    async def _call[M: BaseModel](
        self, at: ControlAddress, method: str, path: str, body: BaseModel | None, shape: type[M], *, within_s: float = 0
    ) -> M:
        with self._traced(at, path):
            return await self._called(at, method, path, body, shape, within_s or self._call_s)

    def _traced(self, at: ControlAddress, path: str) -> AbstractContextManager[object]:
        """Trace a call that belongs to a span; the many that belong to none would each be a trace of its own."""
        if not CURRENT.get():
            return nullcontext()
        name = f"runner /{path.split('/')[1]}"  # what follows may be an id
        return self._tracing.span(name, Kind.CLIENT, {"jelmore.session_id": str(at.session_id)})

    async def _called[M: BaseModel](
        self, at: ControlAddress, method: str, path: str, body: BaseModel | None, shape: type[M], within_s: float
    ) -> M:
        async with translated(within_s), self._room, opened_session(at) as (session, base):
            # Send only the fields that are set: a runner of an older version refuses unknown fields.
            data = None if body is None else body.model_dump_json(exclude_unset=True).encode()
            headers = {"Content-Type": "application/json", **carried()}
            async with session.request(method, base + path, data=data, headers=headers) as response:
                text = await bounded(response)
            if response.status >= HTTPStatus.BAD_REQUEST:
                raise refusal_error(response.status, text)
            answer = await parsed(text, shape, path)
        if isinstance(answer, control.Health):
            _check_identity(answer, at)
        return answer


@dataclass(slots=True)
class _Waiting:
    """The bytes in all inboxes."""

    bytes: int = 0


@dataclass(slots=True)
class _Inbox:
    """Frames that have arrived and are not read yet. Bounded, so that a slow reader slows the runner down."""

    after: int
    session_id: str
    items: deque[tuple[int, Output | Delta]] = field(default_factory=deque)  # with the bytes of each
    bytes: int = 0
    head: int = 0  # the runner's newest seq when the relay began
    ended: BaseException | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: _Waiting = field(default_factory=_Waiting)

    async def put(self, item: Output | Delta, size: int) -> None:
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

    async def take(self) -> list[Output] | Delta:
        """Return the outputs up to the next delta, or that delta. Raises the stream's error after the last item."""
        while not self.items:
            if self.ended is not None:
                raise self.ended
            self.arrived.clear()
            await self.arrived.wait()
        batch: list[Output] = []
        while self.items:
            size, item = self.items[0]
            if isinstance(item, Delta):
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


async def _pump(websocket: aiohttp.ClientWebSocketResponse, inbox: _Inbox) -> None:
    """Move frames into the inbox until the connection ends; then store the reason in the inbox."""
    pace = Pace()
    try:
        while True:
            message = await websocket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                if inbox.skips(message):
                    why = f"a line of more than {MAX_LINE_BYTES} bytes was left out"
                    await inbox.put(unreadable(inbox.after, datetime.now(UTC), 0, why), 1)
                inbox.end(RelayBreak(f"the relay ended ({message.type.name.lower()}, {websocket.close_code})"))
                return
            text: str = message.data
            item = _read_frame(text, inbox)
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


def _read_frame(text: str, inbox: _Inbox) -> Output | Delta | None:
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
        return Delta(text) if kind == "delta" and len(text) <= MAX_DELTA_CHARACTERS else None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise DependencyError("runner", "the relay sent something that is not a frame") from None


def _check_identity(health: control.Health, at: ControlAddress) -> None:
    """Raise DependencyError unless the response is from the expected runner, or from one that has no session yet."""
    if health.session_id is None and health.generation == 0:
        return
    if (health.session_id, health.generation) != (str(at.session_id), at.generation):
        raise DependencyError(
            "runner",
            f"generation {health.generation} of session {health.session_id} answers for generation {at.generation} "
            f"of session {at.session_id}",
        )


def _output(output: Output | None, text: str, inbox: _Inbox) -> Output | None:
    """Return the next output. One that cannot be parsed is replaced by a mark, so that the relay continues after it."""
    if output is None:
        output = unreadable(inbox.after + 1, datetime.now(UTC), len(text), "a line could not be read")
    if output.seq <= inbox.after:
        return None  # sent twice
    if output.seq != inbox.after + 1:
        raise BrokenOutputError(f"output {inbox.after + 1} is missing: the runner continued with {output.seq}")
    inbox.after = output.seq
    return output
