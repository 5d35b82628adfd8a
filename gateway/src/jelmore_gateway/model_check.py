"""Asks the model API whether it accepts the deployment's credential. `jelmore doctor` shows the answer.

Without it, a credential that is wrong or was revoked shows only in the first turn of a session. The request lists
models, so it costs nothing; its answer is kept for a few seconds, so nobody can use it to flood the API.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import aiohttp
from yarl import URL

from jelmore_gateway.credentials import ModelCredential
from jelmore_gateway.model_requests import model_headers
from jelmore_gateway.refusals import RefusedError
from jelmore_protocol.model_check import ModelCheck

CHECK_S: Final = 8.0
"""How long the model API may take to answer. A manager waits longer than that for the gateway."""

_KEPT_S: Final = 10.0
_ASKED: Final = (("Anthropic-Version", "2023-06-01"), ("Accept", "application/json"))
"""As https://platform.claude.com/docs/en/api/models-list wants it."""


def verdict(status: int) -> tuple[bool | None, str]:
    """Return whether a response means that the credential is accepted, and what is wrong. Pure."""
    if status < HTTPStatus.BAD_REQUEST or status == HTTPStatus.TOO_MANY_REQUESTS:
        return True, ""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return False, f"the model API refuses the credential with {status}"
    if status == HTTPStatus.NOT_FOUND:
        return None, "the model API answers, and has no list of models to check the credential with"
    return None, f"the model API answers with {status}"


class ModelChecks:
    """The last answer of the model API, for `_KEPT_S`. One request at a time."""

    def __init__(
        self, client: Callable[[], aiohttp.ClientSession | None], base: str, credential: Callable[[], ModelCredential]
    ) -> None:
        self._client = client
        self._base = URL(base)
        self._credential = credential
        self._lock = asyncio.Lock()
        self._kept: tuple[float, ModelCheck] | None = None

    async def check(self) -> ModelCheck:
        """Return what the model API says now, or said within `_KEPT_S`. May run twice; never fails."""
        async with self._lock:
            if self._kept is None or self._kept[0] < time.monotonic():
                self._kept = (time.monotonic() + _KEPT_S, await self._ask())
            return self._kept[1]

    async def _ask(self) -> ModelCheck:
        client = self._client()
        if client is None:
            return self._result(0, None, "the gateway is not open")
        try:
            credential = self._credential()
        except RefusedError as error:
            return self._result(0, None, str(error), credential=True)
        given = bool(credential.headers(None))
        status, accepted = 0, None
        try:
            async with (
                asyncio.timeout(CHECK_S),
                client.get(
                    URL(str(self._base).rstrip("/") + "/v1/models?limit=1"),
                    headers=model_headers(_ASKED, credential),
                    allow_redirects=False,
                ) as response,
            ):
                status = response.status
            accepted, problem = verdict(status)
        except TimeoutError:
            problem = f"the model API does not answer within {CHECK_S:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            problem = f"the model API cannot be reached: {str(error) or type(error).__name__}"
        return self._result(status, accepted, problem, credential=given)

    def _result(self, status: int, accepted: bool | None, problem: str, *, credential: bool = False) -> ModelCheck:
        return ModelCheck(
            server=self._base.host_port_subcomponent or "",
            credential=credential,
            accepted=accepted,
            status=status,
            problem=problem,
            at=datetime.now(UTC),
        )
