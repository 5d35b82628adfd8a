"""What managers call on the gateway's control socket. The messages are in `jelmore_protocol.gateway`."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from jelmore_gateway.egress import DecidedError, UnknownHoldError
from jelmore_gateway.gateway import Gateway
from jelmore_gateway.oauth import OAuthError
from jelmore_gateway.repository_rules import PushRejectedError, RepositoryRefusedError
from jelmore_gateway.state import State, StateError
from jelmore_gateway.vault import VaultError
from jelmore_protocol.authorization import AuthorizationAnswer, AuthorizationRequest
from jelmore_protocol.gateway import (
    BRANCH_HEADER,
    COMMIT_HEADER,
    MAX_HELD_WAIT_S,
    CallPage,
    EgressDecision,
    GatewayConfig,
    PushRequest,
    Registration,
    RepositoryRequest,
    Revocations,
    SandboxList,
    Sealed,
    SealedCredential,
    SealRequest,
)

_log = structlog.get_logger(__name__)

_KEY: Final = "{key:[0-9a-f]{16}}"
_PIECE_BYTES: Final = 256 * 1024
_MAX_BODY_BYTES: Final = 16 * 1024 * 1024


def control_app(gateway: Gateway, state: State) -> web.Application:
    """Return the application that serves the control socket."""

    async def health(_: web.Request) -> web.Response:
        return _answer(gateway.health())

    async def configure(request: web.Request) -> web.Response:
        await gateway.configure(await _body(request, GatewayConfig))
        return _answer(gateway.health())

    async def calls(request: web.Request) -> web.Response:
        return _answer(CallPage(gateway=state.gateway, calls=await state.calls_after(_number(request, "after"))))

    async def check_model(_: web.Request) -> web.Response:
        return _answer(await gateway.model_checks.check())

    async def seal(request: web.Request) -> web.Response:
        sealing = await _body(request, SealRequest)
        value = sealing.value
        if (value is None) == (sealing.sealed is None):
            return _refusal(400, "invalid", "value: give either value or sealed")
        if value is None:
            value = gateway.vault.open(sealing, sealing.sealed or "", sealing.kind)
        sealed, key_id = gateway.vault.seal(sealing, value, sealing.kind)
        return _answer(Sealed(sealed=sealed, key_id=key_id))

    async def end_waits(_: web.Application) -> None:
        gateway.holds.close()

    app = web.Application(middlewares=[_errors], client_max_size=_MAX_BODY_BYTES)
    app.on_shutdown.append(end_waits)
    app.add_routes(
        [
            web.get("/health", health),
            web.put("/config", configure),
            *_sandbox_routes(gateway),
            web.get("/calls", calls),
            *_held_routes(gateway),
            *_authorization_routes(gateway),
            web.get("/model", check_model),
            web.post("/seal", seal),
            *_repository_routes(gateway),
        ]
    )
    return app


def _sandbox_routes(gateway: Gateway) -> list[web.RouteDef]:
    """Return the calls on the sandboxes that may use the gateway."""

    async def list_sandboxes(_: web.Request) -> web.Response:
        return _answer(SandboxList(sandboxes=gateway.entries()))

    async def register(request: web.Request) -> web.Response:
        await gateway.register(request.match_info["key"], await _body(request, Registration))
        return web.Response(status=204)

    async def withdraw(request: web.Request) -> web.Response:
        await gateway.withdraw(request.match_info["key"])
        return web.Response(status=204)

    async def revoke(request: web.Request) -> web.Response:
        await gateway.revoke((await _body(request, Revocations)).sandboxes)
        return web.Response(status=204)

    return [
        web.get("/sandboxes", list_sandboxes),
        web.put(f"/sandboxes/{_KEY}", register),
        web.delete(f"/sandboxes/{_KEY}", withdraw),
        web.post("/revocations", revoke),
    ]


def _repository_routes(gateway: Gateway) -> list[web.RouteDef]:
    """Return the calls that fetch and push repositories."""

    async def repository(request: web.Request) -> web.StreamResponse:
        asked = await _body(request, RepositoryRequest)
        async with gateway.repositories.fetched(asked) as found:
            headers = {COMMIT_HEADER: found.commit, BRANCH_HEADER: quote(found.branch)}
            response = web.StreamResponse(headers=headers)
            response.content_length = found.archive.stat().st_size
            await response.prepare(request)
            with found.archive.open("rb") as archive:
                while piece := await asyncio.to_thread(archive.read, _PIECE_BYTES):
                    await response.write(piece)
            return response

    async def push(request: web.Request) -> web.Response:
        asked = PushRequest.model_validate_json(await request.content.readline())
        return _answer(await gateway.repositories.push(asked, _pieces(request)))

    return [
        web.post("/repositories", repository),
        web.post("/pushes", push),
    ]


def _held_routes(gateway: Gateway) -> list[web.RouteDef]:
    """Return the calls on connections that wait for a person."""

    async def held(request: web.Request) -> web.Response:
        wait_s = min(float(_number(request, "wait_s")), MAX_HELD_WAIT_S)
        return _answer(await gateway.holds.page(request.query.get("revision", ""), wait_s))

    async def decide(request: web.Request) -> web.Response:
        return _answer(gateway.holds.decide(request.match_info["id"], await _body(request, EgressDecision)))

    async def forget(request: web.Request) -> web.Response:
        gateway.holds.forget(request.match_info["id"])
        return web.Response(status=204)

    return [
        web.get("/held", held),
        web.post("/held/{id}/decision", decide),
        web.delete("/held/{id}", forget),
    ]


def _authorization_routes(gateway: Gateway) -> list[web.RouteDef]:
    """Return the calls with which a person lets the gateway use a server in their name."""

    async def begin(request: web.Request) -> web.Response:
        return _answer(await gateway.credentials.authorizations.begin(await _body(request, AuthorizationRequest)))

    async def finish(request: web.Request) -> web.Response:
        return _answer(await gateway.credentials.authorizations.finish(await _body(request, AuthorizationAnswer)))

    async def end(request: web.Request) -> web.Response:
        return _answer(await gateway.credentials.authorizations.end(await _body(request, SealedCredential)))

    return [
        web.post("/authorizations", begin),
        web.post("/authorizations/finish", finish),
        web.post("/authorizations/end", end),
    ]


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        return _refusal(400, "invalid", f"{where}: {first['msg']}")
    except PushRejectedError as error:
        return _refusal(409, "conflict", str(error))
    except UnknownHoldError:
        return _refusal(404, "unknown_request", "there is no such request of this session")
    except DecidedError as error:
        return _refusal(409, "conflict", str(error))
    except OAuthError as error:
        _log.warning("authorization_refused", reason=error.reason, error=str(error))
        return _refusal(409, error.reason, str(error))
    except RepositoryRefusedError as error:
        return _refusal(400, "repository", str(error))
    except (StateError, VaultError, OSError) as error:
        _log.error("control_call_failed", path=request.path, error=str(error))
        return _refusal(503, "unavailable", str(error))


async def _pieces(request: web.Request) -> AsyncGenerator[bytes]:
    while piece := await request.content.read(_PIECE_BYTES):
        yield piece


async def _body[M: BaseModel](request: web.Request, kind: type[M]) -> M:
    return kind.model_validate_json(await request.read())


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "0")
    return int(text) if text.isascii() and text.isdecimal() else 0


def _answer(message: BaseModel) -> web.Response:
    return web.Response(text=message.model_dump_json(), content_type="application/json")


def _refusal(status: int, code: str, message: str) -> web.Response:
    body: dict[str, Any] = {"code": code, "message": message}
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")
