"""Connections to ports of a session, asynchronously. `_sync_port.py` is generated from this file."""

from contextlib import AsyncExitStack
from typing import Any, Self

try:
    from websockets.asyncio.client import ClientConnection, connect, unix_connect
    from websockets.exceptions import ConnectionClosed, WebSocketException
except ModuleNotFoundError:
    raise ImportError("ports need the package websockets: pip install 'jelmore-client[terminal]'") from None

from jelmore_client.core.ports import END, MAX_FRAME_BYTES, OPEN_TIMEOUT_S, closed_error
from jelmore_client.core.problems import refusal
from jelmore_client.core.trust import certificate_problem, websocket_options
from jelmore_client.errors import ConnectionFailedError, JelmoreError, connection_failed


class AsyncPortConnection:
    """A TCP connection to a server in a session's sandbox. Use it as a context manager, which connects.

    One task may read while another one writes.
    """

    def __init__(self, url: str, api_key: str | None, socket_path: str | None) -> None:
        self._url = url
        self._headers = {"X-API-Key": api_key} if api_key else {}
        self._socket_path = socket_path
        self._connection: ClientConnection | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        options: dict[str, Any] = {
            "additional_headers": self._headers,
            "max_size": MAX_FRAME_BYTES,
            "compression": None,
            "open_timeout": OPEN_TIMEOUT_S,
        }
        try:
            if self._socket_path is None:
                connecting = connect(self._url, **options, **websocket_options(self._url))
            else:
                connecting = unix_connect(self._socket_path, self._url, **options)
            self._connection = await self._stack.enter_async_context(connecting)
        except (WebSocketException, OSError, TimeoutError) as error:
            raise _failure(error) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. May be called twice."""
        self._connection = None
        await self._stack.aclose()

    async def read(self) -> bytes:
        """Return the next bytes of the server, b"" once it has closed the connection. Raises JelmoreError."""
        try:
            frame = await self._open().recv()
        except ConnectionClosed as closed:
            found = closed.rcvd
            error = closed_error(found.code, found.reason) if found else ConnectionFailedError("the connection broke")
            if error is not None:
                raise error from None
            return b""
        return frame if isinstance(frame, bytes) else frame.encode()

    async def write(self, data: bytes) -> None:
        """Send bytes. Returns when there is room for more. Raises JelmoreError."""
        for start in range(0, len(data), MAX_FRAME_BYTES):
            await self._send(data[start : start + MAX_FRAME_BYTES])

    async def end(self) -> None:
        """Say that no more bytes are sent; the answer can still be read. Raises JelmoreError."""
        await self._send(END)

    async def _send(self, frame: str | bytes) -> None:
        try:
            await self._open().send(frame)
        except ConnectionClosed:
            raise ConnectionFailedError("the server has closed the connection") from None

    def _open(self) -> ClientConnection:
        if self._connection is None:
            raise ConnectionFailedError("this connection is closed")
        return self._connection


def _failure(error: Exception) -> JelmoreError:
    response = getattr(error, "response", None)
    if response is not None:
        return refusal(response.status_code, response.headers, response.body or b"")
    if certificate_problem(error) is not None:
        return connection_failed("the server", error)
    return ConnectionFailedError(f"the server does not answer: {str(error) or type(error).__name__}")
