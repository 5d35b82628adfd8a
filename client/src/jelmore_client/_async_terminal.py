"""Terminals, asynchronously. `_sync_terminal.py` is generated from this file."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Self

try:
    from websockets.asyncio.client import ClientConnection, connect, unix_connect
    from websockets.exceptions import ConnectionClosed, WebSocketException
except ModuleNotFoundError:
    raise ImportError("terminals need the package websockets: pip install 'jelmore-client[terminal]'") from None

from jelmore_client.core.problems import refusal
from jelmore_client.core.terminals import MAX_FRAME_BYTES, MAX_TYPED_BYTES, TerminalOutput, TerminalState
from jelmore_client.core.trust import certificate_problem, websocket_options
from jelmore_client.errors import ConnectionFailedError, JelmoreError, connection_failed

_LOST = 1006


class AsyncTerminal:
    """A terminal of a session. Use it as a context manager; leaving it leaves a named terminal running.

    One task may read while another one writes. `state` says who types, how large the screen is, and how it ended.
    `on_retry` is that of the client: it is called when the connection has broken and is opened again.
    """

    on_retry: Callable[[JelmoreError, float], None] | None = None

    def __init__(self, url: str, api_key: str | None, opening: dict[str, Any], socket_path: str | None) -> None:
        self.state = TerminalState({name: value for name, value in opening.items() if value is not None})
        self._url = url
        self._headers = {"X-API-Key": api_key} if api_key else {}
        self._socket_path = socket_path
        self._connection: ClientConnection | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._open()
            while not self.state.instance:
                await self.read()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave the terminal. May be called twice."""
        self._connection = None
        await self._stack.aclose()

    async def read(self) -> TerminalOutput | None:
        """Return what the terminal wrote next, or None after a frame that only changed `state`; see `state.ended`.

        Connects again when the connection breaks, and continues exactly where it was. Raises JelmoreError: when the
        terminal or the session is gone, the credential has ended, or a command's input has broken off.
        """
        connection = self._connection
        if connection is None:
            raise ConnectionFailedError("this terminal is closed")
        try:
            return self.state.take(await connection.recv())
        except ConnectionClosed as closed:
            code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (_LOST, str(closed))
        await self._again(code, reason)
        return None

    async def write(self, data: bytes) -> None:
        """Type bytes. Returns when there is room for more. Bytes typed while the connection is broken are lost.

        For a client that does not type they have no effect, and `state.problem` says so.
        """
        for start in range(0, len(data), MAX_TYPED_BYTES):
            await self._send(data[start : start + MAX_TYPED_BYTES])

    async def resize(self, columns: int, rows: int) -> None:
        """Send the size of this client's screen. It has no effect for a client that does not type."""
        await self._send(json.dumps({"type": "resize", "columns": columns, "rows": rows}))

    async def take(self) -> None:
        """Become the one who types."""
        await self._send(json.dumps({"type": "take"}))

    async def end_input(self) -> None:
        """End the input of a command; a screen gets Ctrl-D."""
        for frame in self.state.end_of_input():
            await self._send(frame)

    async def end(self) -> None:
        """End the terminal with all its processes."""
        await self._send(json.dumps({"type": "end"}))

    async def _send(self, frame: str | bytes) -> None:
        connection = self._connection
        if connection is None:
            raise ConnectionFailedError("this terminal is closed")
        try:
            await connection.send(frame)
        except ConnectionClosed:
            return  # `read` connects again, or says why not

    async def _open(self) -> None:
        """Connect and send `open`. Raises JelmoreError."""
        try:
            await self._stack.aclose()
            self._stack = AsyncExitStack()
            options: dict[str, Any] = {"additional_headers": self._headers, "max_size": MAX_FRAME_BYTES}
            if self._socket_path is None:
                options |= websocket_options(self._url)
                connecting = connect(self._url, compression=None, **options)
            else:
                connecting = unix_connect(self._socket_path, self._url, compression=None, **options)
            self._connection = await self._stack.enter_async_context(connecting)
            await self._connection.send(self.state.first_frame())
        except ConnectionClosed:
            return  # `read` says why
        except (WebSocketException, OSError, TimeoutError) as error:
            raise _failure(error) from error

    async def _again(self, code: int, reason: str) -> None:
        while True:
            delay_s = self.state.reconnect_delay_s(code, reason)
            if delay_s is None:
                return
            if self.on_retry is not None and self.state.failure is not None:
                self.on_retry(self.state.failure, delay_s)
            await asyncio.sleep(delay_s)
            try:
                await self._open()
            except JelmoreError as error:
                if not error.retryable:
                    raise
                code, reason = _LOST, str(error)
            else:
                return


def _failure(error: Exception) -> JelmoreError:
    response = getattr(error, "response", None)
    if response is not None:
        return refusal(response.status_code, response.headers, response.body or b"")
    if certificate_problem(error) is not None:
        return connection_failed("the server", error)
    return ConnectionFailedError(f"the terminal does not answer: {str(error) or type(error).__name__}")
