"""A control socket that answers as a test scripts it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiohttp import web

from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import ControlAddress, Delta, PublicClients, RelayBreak
from jelmore.session.errors import JelmoreError
from jelmore.session.output import Output
from jelmore_protocol.events import utc_text

SESSION_ID = UUID("01234567-89ab-cdef-0123-456789abcdef")


HEALTH = {"protocol": 1, "phase": "ready", "session_id": str(SESSION_ID), "generation": 1, "seq": 7}


type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


type Script = Callable[[web.WebSocketResponse], Awaitable[None]]


@asynccontextmanager
async def answering(at: ControlAddress, handler: Handler) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    kind, _, place = at.text.partition(":")
    host, _, port = place.rpartition(":")
    site = web.UnixSite(runner, place) if kind == "unix" else web.TCPSite(runner, host, int(port))
    await site.start()
    try:
        yield
    finally:
        await runner.cleanup()


def relaying(script: Script) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await script(websocket)
        return websocket

    return handler


def frame(seq: int, **data: Any) -> str:
    return json.dumps({"type": "event", "seq": seq, "kind": "message", "at": utc_text(datetime.now(UTC)), "data": data})


def hello(seq: int) -> str:
    return json.dumps(
        {"type": "hello", "protocol": 1, "session_id": str(SESSION_ID), "resume": "ok", "seq": seq, "state": "active"}
    )


async def take_all(at: ControlAddress, after: int) -> tuple[list[Output | Delta], JelmoreError | RelayBreak]:
    """Return everything a relay gives and what ended it."""
    taken: list[Output | Delta] = []
    try:
        async with asyncio.timeout(20), aclosing(RunnerLink().relay(at, after)) as relay:
            async for batch in relay:
                assert not isinstance(batch, PublicClients)
                taken += [batch] if isinstance(batch, Delta) else batch
    except (JelmoreError, RelayBreak) as error:
        return taken, error
    raise AssertionError("a relay never just ends")
