"""`Runners` over HTTP and one WebSocket on a runner's control socket.

Each call opens its own connection: on a unix socket that costs less than detecting that a kept connection belongs to a
removed container.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel

from jelmore.drivers.relay_inbox import Inbox, Item, WaitingBytes, pump
from jelmore.drivers.runner_answers import UnusableError, bounded, parsed, refusal_error, translated
from jelmore.drivers.runner_http import CONNECT_S, opened_session
from jelmore.ports import ControlAddress
from jelmore.session.errors import (
    AlreadyAnsweredError,
    ConflictError,
    DependencyError,
    InvalidRequestError,
    SessionEndedError,
    UnknownRequestError,
)
from jelmore.session.output import MAX_STORED_LINE_BYTES, Output
from jelmore_protocol import control
from jelmore_protocol.content import MAX_ATTACHMENT_BYTES
from jelmore_protocol.rewinding import RewindRequest
from jelmore_protocol.tracing import CURRENT, Kind, NoTracing, Tracing, carried

CALL_S: Final = 10.0
INIT_S: Final = 30.0
COMMAND_S: Final = 30.0
"""Deadline of commands that the runner passes to Claude Code. Above the runner's own deadline of 20 s."""

REWIND_S: Final = 90.0
"""Above the runner's own deadline of 80 s: the process of the agent is replaced, and files are restored."""

HEARTBEAT_S: Final = 20.0
MAX_CALLS: Final = 200


class RunnerLink:
    """All runners that this manager calls. At most `MAX_CALLS` calls at once; relays are counted separately."""

    def __init__(self, *, call_s: float = CALL_S, tracing: Tracing | None = None) -> None:
        self._call_s = call_s
        self._at_once = asyncio.Semaphore(MAX_CALLS)
        self._waiting = WaitingBytes()
        self._tracing = tracing or NoTracing()

    async def health(self, at: ControlAddress) -> control.Health:
        """Return the runner's health."""
        return await self._call(at, "GET", "/health", None, control.Health)

    async def prepare(self, at: ControlAddress, prepare: control.Prepare) -> control.Health:
        """Have the agent of a dormant runner started ahead."""
        return await self._call(at, "POST", "/prepare", prepare, control.Health)

    async def init(self, at: ControlAddress, init: control.Init, *, ready_within_s: float = 0) -> control.Health:
        """Give the dormant runner its identity and options. May run any number of times with the same generation.

        Returns when it is ready, after `ready_within_s` seconds at the latest. Images of earlier versions do not wait.
        """
        path = f"/init?ready_within_s={ready_within_s:g}" if ready_within_s else "/init"
        return await self._call(at, "POST", path, init, control.Health, within_s=max(self._call_s, INIT_S))

    async def input(self, at: ControlAddress, request: control.InputRequest) -> control.InputAccepted:
        """Send a prompt. Returns when it is journaled."""
        try:
            return await self._call(at, "POST", "/input", request, control.InputAccepted)
        except UnusableError as error:  # such as a file of the workspace that is not there
            raise InvalidRequestError(str(error).removeprefix("runner: ")) from None

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
        except UnusableError as error:  # the answer does not fit the request
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

    async def rewind(self, at: ControlAddress, wanted: RewindRequest) -> control.InputAccepted:
        """Take the session back to before a prompt."""
        return await self._call(at, "POST", "/rewind", wanted, control.InputAccepted, within_s=REWIND_S)

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
            self._at_once,
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

    async def relay(self, at: ControlAddress, after: int) -> AsyncGenerator[list[Output] | Item]:
        """Yield deltas, and output journaled after seq `after`. Close the iterator (`aclosing`) to end it early."""
        async with opened_session(at) as (session, base):
            async with translated(CONNECT_S):
                websocket = await session.ws_connect(
                    f"{base}/relay?after={after}",
                    heartbeat=HEARTBEAT_S,
                    max_msg_size=MAX_STORED_LINE_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CONNECT_S),
                )
            inbox = Inbox(after, str(at.session_id), waiting=self._waiting)
            reading = asyncio.create_task(pump(websocket, inbox), name=f"relay {at.text}")
            try:
                while True:
                    yield await inbox.take()
            finally:
                reading.cancel()
                inbox.release()  # before the first await: a cancellation would skip it
                await asyncio.gather(reading, return_exceptions=True)
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
        name = f"runner /{path.partition('?')[0].split('/')[1]}"  # what follows may be an id
        return self._tracing.span(name, Kind.CLIENT, {"jelmore.session_id": str(at.session_id)})

    async def _called[M: BaseModel](
        self, at: ControlAddress, method: str, path: str, body: BaseModel | None, shape: type[M], within_s: float
    ) -> M:
        async with translated(within_s), self._at_once, opened_session(at) as (session, base):
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
