"""How a connection to a port of a sandbox ends: in order, broken off, or because the client's key was revoked."""

from uuid import UUID

import pytest
from aiohttp import web

from jelmore.drivers.runner_ports import RunnerPorts
from jelmore.ports import ControlAddress, PortClosedError


@pytest.mark.parametrize(("code", "ended"), [(1000, (True, False)), (1001, (False, False)), (4401, (False, True))])
async def test_the_code_of_the_runner_says_why(code: int, ended: tuple[bool, bool]) -> None:
    async def serve(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.send_bytes(b"last")
        await websocket.close(code=code)
        return websocket

    app = web.Application()
    app.router.add_get("/ports/{port}", serve)
    serving = web.AppRunner(app)
    await serving.setup()
    try:
        await web.TCPSite(serving, "127.0.0.1", 0).start()
        address = f"tcp:127.0.0.1:{serving.addresses[0][1]}"
        link = await RunnerPorts().connect(ControlAddress(address, UUID(int=1), 1), 3000, subject="key")
        assert await link.receive() == b"last"
        with pytest.raises(PortClosedError) as closed:
            await link.receive()
        assert (closed.value.in_order, closed.value.revoked) == ended
        await link.close()
    finally:
        await serving.cleanup()
