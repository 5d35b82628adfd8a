"""Offers stdio servers over streamable HTTP on a unix socket that only the gateway uses.

| call | does |
|---|---|
| `GET /servers` | LocalServers: which servers there are |
| `POST /{sandbox}/{name}` | a message; `initialize` starts a process and its response names the conversation |
| `GET /{sandbox}/{name}` | a stream of what belongs to no request |
| `DELETE /{sandbox}/{name}` | ends a conversation |
| `DELETE /{sandbox}` | ends all conversations of a sandbox; absent is success |
"""

import asyncio
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiohttp import web

from jelmore_gateway.byte_budget import ByteBudget
from jelmore_gateway.stdio.config import StdioConfig, StdioServer
from jelmore_gateway.stdio.conversation import Conversation, RequestRefusedError, is_request, read_message
from jelmore_gateway.stdio.process import ProcessError, StdioProcess
from jelmore_gateway.stdio.streams import FLOOR_BYTES, MAX_BYTES, MAX_OF_SANDBOX_BYTES, Messages
from jelmore_gateway.stdio.users import Users
from jelmore_protocol.gateway import LOCAL_CREDENTIALS_HEADER, LocalServer, LocalServers

_log = structlog.get_logger(__name__)

SESSION_HEADER: Final = "Mcp-Session-Id"
MAX_OF_SANDBOX: Final = 8
SWEEP_S: Final = 5.0
PING_S: Final = 15.0
RESPONSE_S: Final = 900.0
SHUTDOWN_S: Final = 5.0
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
MAX_ENVIRONMENT_BYTES: Final = 8 * 1024 * 1024
"""More than all credentials of a server can take, as JSON."""


@dataclass(slots=True, eq=False)
class _Start:
    """A process that is being started, for whose conversation there is no name yet."""

    sandbox: str
    ended: bool = False  # the sandbox ended meanwhile


class Host:
    """The conversations of all sandboxes. `run` ends those that are idle; `close` ends all."""

    def __init__(self, config: StdioConfig, *, max_processes: int, users: Users | None = None) -> None:
        self._servers = config.mcpServers
        self._max_processes = max_processes
        self._users = users
        self._conversations: dict[str, Conversation] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._starting: set[_Start] = set()
        self._memory = ByteBudget(MAX_BYTES, MAX_OF_SANDBOX_BYTES, FLOOR_BYTES)

    def runner(self) -> web.AppRunner:
        """Return what serves the application, not started."""
        return web.AppRunner(
            self.app(),
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,
            auto_decompress=False,
            shutdown_timeout=SHUTDOWN_S,
        )

    def app(self) -> web.Application:
        """Return the application for the socket."""
        app = web.Application(client_max_size=MAX_MESSAGE_BYTES + MAX_ENVIRONMENT_BYTES)
        app.add_routes(
            [
                web.get("/servers", self._list),
                web.post("/{sandbox}/{name}", self._post),
                web.get("/{sandbox}/{name}", self._get),
                web.delete("/{sandbox}/{name}", self._delete),
                web.delete("/{sandbox}", self._delete_all),
            ]
        )
        return app

    async def run(self) -> None:
        """End conversations that are idle, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self._end([each for each in self._conversations.values() if each.is_idle])

    async def close(self) -> None:
        """End every process, also one that is being started. May run twice."""
        for start in self._starting:
            start.ended = True
        tasks = list(self._tasks.values())
        self._end(list(self._conversations.values()))
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, conversations: Iterable[Conversation]) -> None:
        """Let conversations end: no call finds them any more, and their processes have a second."""
        for each in conversations:
            each.stop()

    async def _list(self, _: web.Request) -> web.Response:
        shown = [self._shown(name, server) for name, server in sorted(self._servers.items())]
        return web.Response(text=LocalServers(servers=shown).model_dump_json(), content_type="application/json")

    def _shown(self, name: str, server: StdioServer) -> LocalServer:
        path = server.env.get("PATH")
        problem = "" if shutil.which(server.command, path=path) else f"there is no command {server.command}"
        return server.shown(name).model_copy(update={"problem": problem})

    async def _post(self, request: web.Request) -> web.StreamResponse:
        try:
            environment, body = _split(request, await request.read())
            message = read_message(body)
            if is_request(message):
                self._check_room(request.match_info["sandbox"])
            if message.get("method") == "initialize" and SESSION_HEADER not in request.headers:
                conversation = await self._begin(request, environment)
            else:
                conversation = self._find(request)
            if not is_request(message):
                await conversation.send(message)
                return web.Response(status=202)
            return await self._answer(request, conversation, message)
        except RequestRefusedError as error:
            return _refusal(error.status, str(error))
        except ProcessError as error:
            return _refusal(502, str(error))

    def _check_room(self, sandbox: str) -> None:
        """Raise RequestRefusedError when a large response would have to wait for others to be read."""
        if not self._memory.has_room(sandbox, MAX_MESSAGE_BYTES):
            raise RequestRefusedError("too many messages wait to be read", 503)

    async def _answer(
        self, request: web.Request, conversation: Conversation, message: Mapping[str, Any]
    ) -> web.StreamResponse:
        stream = await conversation.request(message)
        try:
            return await _send(request, stream, conversation.id, RESPONSE_S)
        finally:
            conversation.leave(message["id"])

    async def _get(self, request: web.Request) -> web.StreamResponse:
        try:
            conversation = self._find(request)
        except RequestRefusedError as error:
            return _refusal(error.status, str(error))
        stream = conversation.listen()
        try:
            return await _send(request, stream, conversation.id, None)
        finally:
            stream.discard()

    async def _delete(self, request: web.Request) -> web.Response:
        try:
            self._end([self._find(request)])
        except RequestRefusedError as error:
            return _refusal(error.status, str(error))
        return web.Response(status=204)

    async def _delete_all(self, request: web.Request) -> web.Response:
        sandbox = request.match_info["sandbox"]
        for start in self._starting:
            start.ended = start.ended or start.sandbox == sandbox
        self._end([each for each in self._conversations.values() if each.sandbox == sandbox])
        return web.Response(status=204)

    def _find(self, request: web.Request) -> Conversation:
        named = request.headers.get(SESSION_HEADER)
        if named is None:
            raise RequestRefusedError(f"{SESSION_HEADER}: is missing; send initialize first")
        found = self._conversations.get(named)
        wanted = (request.match_info["sandbox"], request.match_info["name"])
        if found is None or found.ended or (found.sandbox, found.name) != wanted:
            raise RequestRefusedError("the conversation has ended; send initialize again", 404)
        return found

    async def _begin(self, request: web.Request, environment: bytes) -> Conversation:
        sandbox, name = request.match_info["sandbox"], request.match_info["name"]
        server = self._servers.get(name)
        if server is None:
            raise RequestRefusedError(f"there is no server {name}", 404)
        credentials = _credentials(environment, server)
        owners = [each.sandbox for some in (self._conversations.values(), self._starting) for each in some]
        if len(owners) >= self._max_processes:
            raise RequestRefusedError(f"{self._max_processes} servers run already", 503)
        if owners.count(sandbox) >= MAX_OF_SANDBOX:
            raise RequestRefusedError(f"a session may have {MAX_OF_SANDBOX} servers at once", 429)
        start = _Start(sandbox)
        self._starting.add(start)
        try:
            process = await StdioProcess.start(name, server, credentials, self._users)
        finally:
            self._starting.discard(start)
        conversation = Conversation(sandbox, name, process, server.idle_s, self._memory)
        self._conversations[conversation.id] = conversation
        self._tasks[conversation.id] = task = asyncio.create_task(conversation.run(), name=f"mcp server {name}")
        task.add_done_callback(lambda _: self._forget(conversation.id))
        _log.info("mcp_server_started", server=name, sandbox=sandbox)
        if start.ended:
            conversation.stop()
            raise RequestRefusedError("the session has ended", 404)
        return conversation

    def _forget(self, conversation_id: str) -> None:
        conversation = self._conversations.pop(conversation_id)
        del self._tasks[conversation_id]
        _log.info("mcp_server_ended", server=conversation.name, sandbox=conversation.sandbox)


async def _send(
    request: web.Request, stream: Messages, conversation_id: str, most_s: float | None
) -> web.StreamResponse:
    """Send messages as events until the stream ends; a comment every few seconds shows that it is alive."""
    response = web.StreamResponse(headers={"Cache-Control": "no-cache", SESSION_HEADER: conversation_id})
    response.content_type = "text/event-stream"
    await response.prepare(request)
    async with asyncio.timeout(most_s):
        while True:
            try:
                message = await stream.next(PING_S)
            except TimeoutError:
                await response.write(b": ping\n\n")
                continue
            if message is None:
                break
            await response.write(b"event: message\ndata: " + message + b"\n\n")
    await response.write_eof()
    return response


def _split(request: web.Request, body: bytes) -> tuple[bytes, bytes]:
    """Return the variables that the gateway sent, as JSON, and the client's message. Raises RequestRefusedError."""
    text = request.headers.get(LOCAL_CREDENTIALS_HEADER, "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004
        raise RequestRefusedError(f"{LOCAL_CREDENTIALS_HEADER}: is no number of bytes")
    size = int(text)
    if len(body) - size > MAX_MESSAGE_BYTES:
        raise RequestRefusedError(f"a message is at most {MAX_MESSAGE_BYTES} bytes", 413)
    return body[:size] or b"{}", body[size:]


def _credentials(environment: bytes, server: StdioServer) -> dict[str, str]:
    """Return the variables that the gateway sent, of those that the file names. Raises RequestRefusedError."""
    try:
        given = json.loads(environment)
    except ValueError:
        raise RequestRefusedError("the credentials cannot be read") from None
    return {name: str(value) for name, value in given.items() if name in server.credentials and "\0" not in str(value)}


def _refusal(status: int, text: str) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": text}}, status=status)
