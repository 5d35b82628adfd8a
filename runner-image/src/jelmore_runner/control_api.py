"""The control socket for the manager: `jelmore_protocol.control` over HTTP, and the relay's WebSocket."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Final

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketClose

from jelmore_protocol import control
from jelmore_protocol.frames import ErrorCode
from jelmore_protocol.rewinding import RewindRequest
from jelmore_protocol.tracing import HEADER, checked
from jelmore_protocol.websocket_server import (
    Admission,
    Client,
    ClosedError,
    CloseError,
    Connection,
    pump,
    read_after,
)
from jelmore_runner.control_bodies import body_of
from jelmore_runner.errors import RefusedError
from jelmore_runner.rewinding import rewind
from jelmore_runner.runner import Runner
from jelmore_runner.terminals.for_manager import ManagerTerminals, serve_for_manager
from jelmore_runner.transcript_api import follow, take_restored

MAX_READY_S: Final = 5.0

STATUS: Final = {
    ErrorCode.BAD_FRAME: 422,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.CONFLICT: 409,
    ErrorCode.UNKNOWN_REQUEST: 404,
    ErrorCode.INPUT_EMPTY: 422,
    ErrorCode.INPUT_TOO_LARGE: 413,
    ErrorCode.QUEUE_FULL: 429,
    ErrorCode.ENDED: 409,
    ErrorCode.WORKSPACE_FULL: 409,
    ErrorCode.UNAVAILABLE: 503,
}

type Handler = Callable[[Request], Awaitable[BaseModel]]


def create_control_app(runner: Runner) -> ASGIApp:
    """Return the ASGI application of the control socket."""

    async def health(_: Request) -> BaseModel:
        return runner.health()

    async def draining(request: Request) -> BaseModel:
        runner.set_draining((await body_of(request, control.Draining)).on)
        return runner.health()

    async def revoke(request: Request) -> BaseModel:
        wanted = await body_of(request, control.Revoke)
        runner.revoke(wanted.subjects, wanted.token_epoch)
        return runner.health()

    async def stop(request: Request) -> BaseModel:
        runner.stop(await body_of(request, control.Stop))
        return runner.health()

    async def workspace(request: Request) -> Response:
        if runner.snapshots is not None:
            await runner.snapshots.settled()  # what changes files, or compares with this turn's, comes after it
        try:
            return StreamingResponse(
                await runner.helpers.answer(request.stream()), media_type="application/octet-stream"
            )
        except RefusedError as error:
            return _refusal(error.code, str(error))

    app = Starlette(
        routes=[
            Route("/health", _answering(health)),
            *_start_routes(runner),
            *_conversation_routes(runner),
            *_egress_routes(runner),
            *_agent_routes(runner),
            *_limit_routes(runner),
            *_queue_routes(runner),
            Route("/quiet", _answering(draining), methods=["POST"]),
            Route("/revoke", _answering(revoke), methods=["POST"]),
            Route("/stop", _answering(stop), methods=["POST"]),
            Route("/workspace", workspace, methods=["POST"]),
            *_transcript_routes(runner),
            *_connection_routes(runner),
        ],
        exception_handlers={404: _not_found, 405: _not_found},
    )
    return _authenticated(app, runner.settings.secret)


def _traced(wanted: control.InputRequest, request: Request) -> control.InputRequest:
    return wanted.model_copy(update={"trace": checked(request.headers.get(HEADER))})


def _start_routes(runner: Runner) -> list[Route]:
    """Return the calls that start the session, and its agent ahead of it."""

    async def init(request: Request) -> BaseModel:
        wanted = await body_of(request, control.Init)
        if wanted.first_input is not None:
            wanted = wanted.model_copy(update={"first_input": _traced(wanted.first_input, request)})
        await runner.begin(wanted)
        await runner.wait_started(_ready_within_s(request))
        return runner.health()

    async def prepare(request: Request) -> BaseModel:
        await runner.preparation.want(await body_of(request, control.Prepare))
        return runner.health()

    return [
        Route("/prepare", _answering(prepare), methods=["POST"]),
        Route("/init", _answering(init), methods=["POST"]),
    ]


def _conversation_routes(runner: Runner) -> list[Route]:
    """Return the calls that send something to the agent, and the one that reads what was sent."""

    async def accept_input(request: Request) -> BaseModel:
        wanted = _traced(await body_of(request, control.InputRequest), request)
        conversation = await runner.opened_conversation()
        return control.InputAccepted(seq=await conversation.accept(wanted))

    async def interrupt(_: Request) -> BaseModel:
        await runner.interrupt()
        return runner.health()

    async def answer(request: Request) -> BaseModel:
        wanted = await body_of(request, control.PermissionAnswer)
        conversation = await runner.opened_conversation()
        return control.InputAccepted(seq=await conversation.requests.answer(request.path_params["request_id"], wanted))

    async def attachment(request: Request) -> Response:
        content = await asyncio.to_thread(runner.attachments.read, request.path_params["id"])
        return await _not_found(request, KeyError()) if content is None else Response(content)

    return [
        Route("/input", _answering(accept_input), methods=["POST"]),
        Route("/interrupt", _answering(interrupt), methods=["POST"]),
        Route("/permissions/{request_id}", _answering(answer), methods=["POST"]),
        Route("/attachments/{id:str}", attachment),
    ]


def _connection_routes(runner: Runner) -> list[WebSocketRoute]:
    """Return the connections that the manager holds open."""
    backend = ManagerTerminals(runner)

    async def relay(websocket: WebSocket) -> None:
        await _relay(runner, websocket)

    async def terminal(websocket: WebSocket) -> None:
        await serve_for_manager(backend, websocket)

    async def port(websocket: WebSocket) -> None:
        is_open = runner.init is not None and not runner.draining
        await runner.ports.serve(websocket, runner.public, is_open=is_open)

    return [
        WebSocketRoute("/relay", relay),
        WebSocketRoute("/terminal", terminal),
        WebSocketRoute("/ports/{port}", port),
    ]


def _egress_routes(runner: Runner) -> list[Route]:
    """Return the calls about connections that the gateway holds."""

    async def ask(request: Request) -> BaseModel:
        wanted = await body_of(request, control.EgressAsk)
        return control.InputAccepted(seq=await (await runner.opened_conversation()).requests.ask_egress(wanted))

    async def settle(request: Request) -> BaseModel:
        outcome = await body_of(request, control.EgressOutcome)
        conversation = await runner.opened_conversation()
        return control.InputAccepted(seq=await conversation.requests.settle_egress(request.path_params["id"], outcome))

    return [
        Route("/egress-requests", _answering(ask), methods=["POST"]),
        Route("/egress-requests/{id}", _answering(settle), methods=["POST"]),
    ]


def _agent_routes(runner: Runner) -> list[Route]:
    """Return the calls that change or ask the running agent."""

    async def model(request: Request) -> BaseModel:
        await runner.live_agent().set_model((await body_of(request, control.Change)).value)
        return runner.health()

    async def permission_mode(request: Request) -> BaseModel:
        await runner.live_agent().set_permission_mode((await body_of(request, control.Change)).value)
        return runner.health()

    async def effort(request: Request) -> BaseModel:
        await runner.live_agent().set_effort((await body_of(request, control.Change)).value)
        return runner.health()

    async def answer_within(request: Request) -> BaseModel:
        wanted = await body_of(request, control.AnswerWithin)
        (await runner.opened_conversation()).requests.answer_within_s = wanted.seconds
        return runner.health()

    async def rewinding(request: Request) -> BaseModel:
        wanted = await body_of(request, RewindRequest)
        conversation = await runner.opened_conversation()
        assert runner.snapshots is not None  # noqa: S101 - it is there with the session
        return control.InputAccepted(seq=await rewind(conversation, runner.live_agent, runner.snapshots, wanted))

    async def commands(_: Request) -> BaseModel:
        return control.Commands(commands=await runner.live_agent().commands())

    async def mcp(_: Request) -> BaseModel:
        return control.McpServers(servers=await runner.live_agent().mcp_servers())

    async def mcp_reconnect(request: Request) -> BaseModel:
        await runner.live_agent().reconnect_mcp((await body_of(request, control.McpReconnect)).name)
        return runner.health()

    async def mcp_toggle(request: Request) -> BaseModel:
        wanted = await body_of(request, control.McpToggle)
        await runner.live_agent().toggle_mcp(wanted.name, enabled=wanted.enabled)
        return runner.health()

    return [
        Route("/model", _answering(model), methods=["POST"]),
        Route("/permission-mode", _answering(permission_mode), methods=["POST"]),
        Route("/effort", _answering(effort), methods=["POST"]),
        Route("/answer-within", _answering(answer_within), methods=["POST"]),
        Route("/rewind", _answering(rewinding), methods=["POST"]),
        Route("/commands", _answering(commands)),
        Route("/mcp", _answering(mcp)),
        Route("/mcp/reconnect", _answering(mcp_reconnect), methods=["POST"]),
        Route("/mcp/toggle", _answering(mcp_toggle), methods=["POST"]),
    ]


def _limit_routes(runner: Runner) -> list[Route]:
    """Return the calls that change what the session may use."""

    async def workspace_limit(request: Request) -> BaseModel:
        runner.set_workspace_limit((await body_of(request, control.WorkspaceLimit)).bytes)
        return runner.health()

    async def output_limits(request: Request) -> BaseModel:
        runner.set_output_limits(await body_of(request, control.OutputLimits))
        return runner.health()

    async def budget(request: Request) -> BaseModel:
        wanted = await body_of(request, control.Budget)
        (await runner.opened_conversation()).set_budget(wanted.pause_at_usd)
        return runner.health()

    return [
        Route("/workspace-limit", _answering(workspace_limit), methods=["POST"]),
        Route("/output-limits", _answering(output_limits), methods=["POST"]),
        Route("/budget", _answering(budget), methods=["POST"]),
    ]


def _transcript_routes(runner: Runner) -> list[BaseRoute]:
    async def restored(request: Request) -> Response:
        try:
            return await take_restored(runner, request)
        except RefusedError as error:
            return _refusal(error.code, str(error))

    async def transcript(websocket: WebSocket) -> None:
        await follow(runner, websocket, _relay_after(websocket))

    return [Route("/transcript", restored, methods=["POST"]), WebSocketRoute("/transcript", transcript)]


def _queue_routes(runner: Runner) -> list[Route]:
    async def queue(_: Request) -> BaseModel:
        return control.Queue(inputs=(await runner.opened_conversation()).waiting_inputs())

    async def change_input(request: Request) -> BaseModel:
        wanted = await body_of(request, control.ChangeInput)
        return control.InputAccepted(seq=await (await runner.opened_conversation()).change_input(wanted))

    async def cancel_input(request: Request) -> BaseModel:
        wanted = await body_of(request, control.CancelInput)
        return control.InputAccepted(seq=await (await runner.opened_conversation()).cancel_input(wanted))

    return [
        Route("/queue", _answering(queue)),
        Route("/queue/change", _answering(change_input), methods=["POST"]),
        Route("/queue/cancel", _answering(cancel_input), methods=["POST"]),
    ]


def _authenticated(app: ASGIApp, secret: str | None) -> ASGIApp:
    """Return `app` behind a check of this runner's secret. Without a secret, the socket's folder controls access."""

    async def check(scope: Scope, receive: Receive, send: Send) -> None:
        offered = Headers(scope=scope).get(control.SECRET_HEADER, "") if scope["type"] != "lifespan" else ""
        if secret is None or hmac.compare_digest(offered.encode(), secret.encode()):
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await _refusal(ErrorCode.FORBIDDEN, f"{control.SECRET_HEADER} is not this runner's")(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)

    return check


async def _relay(runner: Runner, websocket: WebSocket) -> None:
    await websocket.accept()
    connection = Connection(websocket, runner.settings.send_timeout_s)
    client = Client(Admission("manager", can_write=True), _relay_after(websocket))

    async def listen() -> None:
        while True:
            await connection.receive()  # no frames are expected; reading detects the end of the connection

    async def report_clients() -> None:
        async for frame in runner.public_clients.frames():
            await connection.send(frame.model_dump_json())

    try:
        await pump(connection, runner.stream(client, default=0), client, listen(), report_clients())
    except CloseError as close:
        await connection.close(close.code)
    except ClosedError:
        return


def _relay_after(websocket: WebSocket) -> int | None:
    """Return the `after` of the URL, None if it is invalid. Other parameters, of newer managers, are ignored."""
    try:
        return read_after(QueryParams([("after", text) for text in websocket.query_params.getlist("after")]))
    except ValueError:
        return None


def _ready_within_s(request: Request) -> float:
    """Return how long the caller waits for a ready agent, in seconds; 0 without a parameter that can be read."""
    try:
        wanted_s = float(request.query_params.get("ready_within_s", "0"))
    except ValueError:
        return 0.0
    return min(wanted_s, MAX_READY_S) if wanted_s > 0 else 0.0


def _answering(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            result = await handler(request)
        except RefusedError as error:
            return _refusal(error.code, str(error))
        return Response(result.model_dump_json(), media_type="application/json")

    return answer


async def _not_found(request: Request, _: Exception) -> Response:
    refusal = control.Refusal(code="unknown_path", message=f"there is no {request.method} {request.url.path}")
    return JSONResponse(refusal.model_dump(), 404)


def _refusal(code: ErrorCode, message: str) -> Response:
    return JSONResponse(control.Refusal(code=code.value, message=message).model_dump(), STATUS[code])
