"""HTTP connections to a runner's control socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from jelmore.drivers.paths import unix_path
from jelmore.drivers.sandbox_sockets import SocketConnector
from jelmore.session.world import ControlAddress
from jelmore_protocol.control import SECRET_HEADER

CONNECT_S: Final = 5.0


@asynccontextmanager
async def opened_session(at: ControlAddress) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """Yield an HTTP session with a connection of its own to this runner, and the base of its URLs."""
    path = unix_path(at)
    if path is not None:
        connector: aiohttp.BaseConnector = SocketConnector(str(path), limit=1, force_close=True)
        base = "http://runner"
    else:
        connector = aiohttp.TCPConnector(limit=1, force_close=True)
        base = "http://" + at.text.removeprefix("tcp:")
    timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_S)
    headers = {SECRET_HEADER: at.secret} if at.secret else {}
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session, base
