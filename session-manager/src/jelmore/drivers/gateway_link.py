"""`Gateway` over the gateway's control socket. Every call has a deadline, so a gateway that hangs stops nobody."""

import asyncio
import json
from collections.abc import Sequence
from http import HTTPStatus
from itertools import batched
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ValidationError

from jelmore.session.errors import (
    AlreadyAnsweredError,
    ConflictError,
    DependencyError,
    RefusedError,
    UnknownRequestError,
)
from jelmore_protocol.authorization import (
    AuthorizationAnswer,
    AuthorizationEnd,
    AuthorizationRequest,
    AuthorizationStarted,
    Authorized,
)
from jelmore_protocol.gateway import (
    MAX_REVOCATIONS,
    CallPage,
    EgressDecision,
    GatewayConfig,
    GatewayHealth,
    HeldPage,
    HeldRequest,
    Registration,
    Revocations,
    SandboxEntry,
    SandboxList,
    Sealed,
    SealedCredential,
    SealRequest,
)
from jelmore_protocol.model_check import ModelCheck

CALL_S: Final = 3.0
LIST_S: Final = 10.0
MODEL_S: Final = 12.0
"""The gateway waits 8 s for the model API."""

AUTHORIZATION_S: Final = 12.0
"""The gateway waits 10 s for the servers."""

HELD_WAIT_S: Final = 10.0
"""How long the gateway waits for a change of held connections; a manager looks again after it."""


class GatewayLink:
    """One gateway, reached by its control socket. Several managers may use it at once."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def check(self) -> None:
        """Return when the gateway answers. Raises DependencyError."""
        await self.health()

    async def health(self) -> GatewayHealth:
        """Return the gateway's state. Raises DependencyError."""
        return await self._call("GET", "/health", GatewayHealth)

    async def configure(self, config: GatewayConfig) -> None:
        """Replace what is the same for all sandboxes. May run twice. Raises DependencyError, RefusedError."""
        await self._call("PUT", "/config", GatewayHealth, body=config)

    async def registered(self) -> Sequence[SandboxEntry]:
        """Return every registered sandbox. Raises DependencyError."""
        return (await self._call("GET", "/sandboxes", SandboxList, within_s=LIST_S)).sandboxes

    async def register(self, key: str, registration: Registration) -> None:
        """Let a sandbox in; its sockets exist on return. May run twice. Raises DependencyError, RefusedError."""
        await self._send("PUT", f"/sandboxes/{key}", registration)

    async def withdraw(self, key: str) -> None:
        """Close a sandbox's connections and sockets and forget it. Absent is success. Raises DependencyError."""
        await self._send("DELETE", f"/sandboxes/{key}")

    async def revoke(self, keys: Sequence[str]) -> None:
        """Cut these sandboxes' connections and refuse new ones. May run twice. Raises DependencyError."""
        for some in batched(keys, MAX_REVOCATIONS):
            await self._send("POST", "/revocations", Revocations(sandboxes=list(some)))

    async def calls(self, after: int) -> CallPage:
        """Return the metered calls after a seq, oldest first. Raises DependencyError."""
        return await self._call("GET", f"/calls?after={after}", CallPage, within_s=LIST_S)

    async def held(self, revision: str) -> HeldPage:
        """Return the held connections after a change, or in `HELD_WAIT_S`. Raises DependencyError."""
        path = f"/held?revision={quote(revision)}&wait_s={HELD_WAIT_S:.0f}"
        return await self._call("GET", path, HeldPage, within_s=HELD_WAIT_S + CALL_S)

    async def decide(self, request_id: str, decision: EgressDecision) -> HeldRequest:
        """Decide about a held connection. Raises UnknownRequestError, AlreadyAnsweredError, DependencyError."""
        return await self._call("POST", f"/held/{quote(request_id, safe='')}/decision", HeldRequest, body=decision)

    async def forget(self, request_id: str) -> None:
        """Forget a decided request. Absent is success. Raises DependencyError."""
        await self._send("DELETE", f"/held/{quote(request_id, safe='')}")

    async def seal(self, request: SealRequest) -> Sealed:
        """Return a credential, encrypted with the gateway's key. Raises DependencyError, RefusedError."""
        return await self._call("POST", "/seal", Sealed, body=request)

    async def begin_authorization(self, asked: AuthorizationRequest) -> AuthorizationStarted:
        """Begin an authorization. Raises ConflictError, DependencyError."""
        return await self._call("POST", "/authorizations", AuthorizationStarted, body=asked, within_s=AUTHORIZATION_S)

    async def finish_authorization(self, answer: AuthorizationAnswer) -> Authorized:
        """Exchange a code, once. Raises ConflictError, DependencyError."""
        return await self._call("POST", "/authorizations/finish", Authorized, body=answer, within_s=AUTHORIZATION_S)

    async def end_authorization(self, credential: SealedCredential) -> AuthorizationEnd:
        """Revoke the refresh token of a credential. Raises DependencyError, RefusedError."""
        path, within_s = "/authorizations/end", AUTHORIZATION_S
        return await self._call("POST", path, AuthorizationEnd, body=credential, within_s=within_s)

    async def check_model(self) -> ModelCheck:
        """Ask the model API, with the deployment's credential. Raises DependencyError, RefusedError."""
        return await self._call("GET", "/model", ModelCheck, within_s=MODEL_S)

    async def close(self) -> None:
        """Do nothing: no connection is kept between calls."""

    async def _send(self, method: str, path: str, body: BaseModel | None = None) -> None:
        await self._ask(method, path, body, CALL_S)

    async def _call[M: BaseModel](
        self, method: str, path: str, answer: type[M], *, body: BaseModel | None = None, within_s: float = CALL_S
    ) -> M:
        try:
            return answer.model_validate_json(await self._ask(method, path, body, within_s))
        except ValidationError as error:
            raise DependencyError("gateway", f"its response to {method} {path} has another form: {error}") from None

    async def _ask(self, method: str, path: str, body: BaseModel | None, within_s: float) -> bytes:
        """Return the body of a response. Each call opens a connection, as the gateway may have restarted."""
        sent: dict[str, Any] = {} if body is None else {"data": body.model_dump_json().encode()}
        connector = aiohttp.UnixConnector(str(self._socket), force_close=True)
        try:
            async with (
                asyncio.timeout(within_s),
                aiohttp.ClientSession(connector=connector) as session,
                session.request(method, f"http://gateway{path}", **sent) as response,
            ):
                text = await response.read()
        except TimeoutError:
            raise DependencyError("gateway", f"no answer within {within_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise DependencyError("gateway", str(error) or type(error).__name__) from None
        if response.ok:
            return text
        said = text.decode(errors="replace")[:500]
        if response.status == HTTPStatus.NOT_FOUND and path.startswith("/held/"):
            raise UnknownRequestError("there is no such request, or it has ended")
        if response.status == HTTPStatus.CONFLICT and path.startswith("/authorizations"):
            raise ConflictError(_message(said))
        if response.status == HTTPStatus.CONFLICT:
            raise AlreadyAnsweredError(_message(said))
        if response.status < 500:  # noqa: PLR2004 - the caller's fault, and final
            raise RefusedError("gateway", f"refused {method} {path}: {said}")
        raise DependencyError("gateway", f"{method} {path}: {said}")


def _message(said: str) -> str:
    try:
        return str(json.loads(said)["message"])
    except (ValueError, TypeError, KeyError):
        return said
