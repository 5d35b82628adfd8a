"""One client's conversation with its own process of a stdio server, and which of its streams each message goes to.

A stdio server writes everything to one place. Over HTTP, a response belongs to the stream of its request, progress to
that of the request it is about, and all else to the client's open stream; without one, to the oldest request that
waits.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

import structlog

from jelmore_gateway.byte_budget import ByteBudget
from jelmore_gateway.stdio.process import StdioProcess
from jelmore_gateway.stdio.streams import Messages, StreamFullError
from jelmore_protocol.json_bounds import has_too_many_values

_log = structlog.get_logger(__name__)

MAX_REQUESTS: Final = 64
SERVER_ENDED: Final = -32000
"""The code of the error that a request gets whose server ended."""

type Id = str | int


class RequestRefusedError(Exception):
    """A message that is not passed on. The text says why, `status` is that of the response."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Conversation:
    """Messages between a client and one process. `run` is its task, and ends with the process."""

    def __init__(self, sandbox: str, name: str, process: StdioProcess, idle_s: float, memory: ByteBudget) -> None:
        self.id = secrets.token_hex(16)
        self.sandbox = sandbox
        self.name = name
        self.idle_s = idle_s
        self.used_at = time.monotonic()
        self.ended = False  # its process ends, or has ended
        self._process = process
        self._memory = memory
        self._requests: dict[Id, Messages] = {}
        self._progress: dict[Id, Id] = {}  # token -> request
        self._open: Messages | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it has had no message for its time and no request waits."""
        return not self._requests and time.monotonic() - self.used_at >= self.idle_s

    async def run(self) -> None:
        """Pass the server's messages on until it ends or `stop` is called; then end every stream and the process."""
        self._running = asyncio.current_task()
        try:
            if not self.ended:
                await self._pass_on()
        except StreamFullError:
            _log.warning("mcp_client_reads_nothing", server=self.name, sandbox=self.sandbox)
        finally:
            self.ended = True
            for request_id, stream in self._requests.items():
                error = {"code": SERVER_ENDED, "message": f"jelmore: mcp/{self.name} has ended"}
                stream.end(json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode())
            if self._open is not None:
                self._open.end()
            await self._process.end()

    def stop(self) -> None:
        """Let `run` end. May run twice, and before the first step of `run`: a task cancelled then would never run."""
        if not self.ended and self._running is not None:
            self._running.cancel()
        self.ended = True

    async def _pass_on(self) -> None:
        async for line in self._process.messages():
            self.used_at = time.monotonic()
            await self._route(line)

    async def request(self, message: Mapping[str, Any]) -> Messages:
        """Send a request; return the stream that ends with its response. Raises RequestRefusedError, ProcessError."""
        request_id = message["id"]
        if request_id in self._requests:
            raise RequestRefusedError("id: a request with this id is under way")
        if len(self._requests) >= MAX_REQUESTS:
            raise RequestRefusedError(f"id: {MAX_REQUESTS} requests are under way")
        self._requests[request_id] = stream = self._stream()
        token = _progress_token(message)
        if token is not None:
            self._progress[token] = request_id
        try:
            await self.send(message)
        except BaseException:  # also when its client leaves meanwhile
            self.leave(request_id)
            raise
        return stream

    def leave(self, request_id: Id) -> None:
        """Forget a request, whose response was taken or whose client has left. May run twice."""
        stream = self._requests.pop(request_id, None)
        if stream is not None:
            stream.discard()
        for token in [token for token, of in self._progress.items() if of == request_id]:
            del self._progress[token]

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a message that gets no response. Raises ProcessError."""
        self.used_at = time.monotonic()
        await self._process.send(json.dumps(message, separators=(",", ":")).encode())

    def listen(self) -> Messages:
        """Return a stream of what belongs to no request, in place of an earlier one, which ends.

        The caller discards it at the end.
        """
        if self._open is not None:
            self._open.end()
        self._open = self._stream()
        return self._open

    def _stream(self) -> Messages:
        return Messages(self._memory, self.sandbox)

    async def _route(self, line: bytes) -> None:
        message = _object(line)
        if message is None:
            _log.info("mcp_server_wrote_no_message", server=self.name)
            return
        if "method" not in message:
            stream = self._requests.get(message.get("id", ""))
            if stream is not None and not stream.ended:
                await stream.put(line)
                stream.end()
            return
        params = message.get("params")
        token = params.get("progressToken") if isinstance(params, dict) else None
        about = self._progress.get(token) if isinstance(token, str | int) else None
        own = self._requests.get(about) if about is not None else None
        oldest = next((each for each in self._requests.values() if not each.ended), None)
        listening = self._open if self._open is not None and not self._open.ended else None
        stream = own if own is not None and not own.ended else listening or oldest
        if stream is not None:  # else nobody reads it, as with a client that has no stream open
            await stream.put(line)


def read_message(body: bytes) -> dict[str, Any]:
    """Return one JSON-RPC message of a client's. Raises RequestRefusedError."""
    if has_too_many_values(body.decode("utf-8", "replace")):
        raise RequestRefusedError("the message has too many values")
    message = _object(body)
    if message is None or message.get("jsonrpc") != "2.0":
        raise RequestRefusedError("the body is no JSON-RPC message; a batch is none")
    if "id" in message and (isinstance(message["id"], bool) or not isinstance(message["id"], str | int)):
        raise RequestRefusedError("id: is neither a text nor a whole number")
    return message


def is_request(message: Mapping[str, Any]) -> bool:
    """Return whether a message gets a response."""
    return "method" in message and "id" in message


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _progress_token(message: Mapping[str, Any]) -> Id | None:
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    return token if isinstance(token, str | int) else None
