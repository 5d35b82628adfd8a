"""One WebSocket of the session: a sender that pulls events, a receiver that obeys frames, and one end for both."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from jelmore_protocol.frames import CloseCode
from jelmore_runner.hub import Hub, Subscriber
from jelmore_runner.serving import CONNECTION_KEY, WebSocketProtocol

_WORDS: Final = {
    CloseCode.ENDED: "the session has ended",
    CloseCode.GOING_AWAY: "connect again with after",
    CloseCode.TOO_SLOW: "the reader fell behind; connect again with after",
    CloseCode.UNAUTHENTICATED: "a valid token is needed",
    CloseCode.FORBIDDEN: "the token opens something else",
    CloseCode.AUTH_TIMEOUT: "no token came in time",
    CloseCode.TRY_LATER: "try again later",
    CloseCode.BAD_FRAME: "too many bad frames",
}


class ClosedError(Exception):
    """The connection is over."""


@dataclass(slots=True, eq=False)
class Connection:
    """Sends with a deadline and closes once."""

    websocket: WebSocket
    send_timeout_s: float
    closing: CloseCode | None = None
    subject: str = ""  # of its token, once it has shown one
    _subscriber: Subscriber | None = None
    _protocol: WebSocketProtocol = field(init=False)

    def __post_init__(self) -> None:
        self._protocol = self.websocket.scope["state"][CONNECTION_KEY]

    def trust(self, most_bytes: int) -> None:
        """Allow larger frames, now that the peer is known."""
        self._protocol.limit_frames(most_bytes)

    async def send(self, text: str) -> None:
        """Send one frame. Raises ClosedError; a peer that does not read is cut off, and only that peer waits."""
        try:
            async with asyncio.timeout(self.send_timeout_s):
                await self.websocket.send({"type": "websocket.send", "text": text})
        except TimeoutError:
            self._protocol.cut_off(CloseCode.TOO_SLOW, _WORDS[CloseCode.TOO_SLOW])
            raise ClosedError from None
        except (WebSocketDisconnect, RuntimeError, OSError):
            raise ClosedError from None

    async def close(self, code: CloseCode) -> None:
        """Close with a code; a peer that does not read is cut off."""
        try:
            async with asyncio.timeout(self.send_timeout_s):
                await self.websocket.close(code, _WORDS.get(code, ""))
        except TimeoutError:
            self._protocol.cut_off(code, _WORDS.get(code, ""))
        except (WebSocketDisconnect, RuntimeError, OSError):
            return

    def end(self, code: CloseCode) -> None:
        """Ask the running `pump` to close with `code`; the first call counts."""
        self.closing = self.closing or code
        if self._subscriber is not None:
            self._subscriber.wake.set()

    async def pump(
        self,
        hub: Hub,
        subscriber: Subscriber,
        receive: Callable[[], Coroutine[Any, Any, None]],
        ended: Callable[[], CloseCode | None],
    ) -> None:
        """Send everything from the subscriber on, while `receive` handles what comes, until either side ends.

        `ended` gives the close code once nothing will follow; it is used when all has been sent.
        """
        self._subscriber = subscriber
        hub.add(subscriber)
        receiver = asyncio.create_task(receive(), name="websocket receiver")
        receiver.add_done_callback(lambda _: subscriber.wake.set())
        try:
            await self._send_all(subscriber, receiver, ended)
        except ClosedError:
            pass
        finally:
            hub.remove(subscriber)
            receiver.cancel()
            await asyncio.wait({receiver})
        failure = None if receiver.cancelled() else receiver.exception()
        if failure is not None and not isinstance(failure, ClosedError | WebSocketDisconnect):
            raise failure

    def _is_closing(self) -> bool:
        return self.closing is not None

    async def _send_all(
        self, subscriber: Subscriber, receiver: "asyncio.Task[None]", ended: Callable[[], CloseCode | None]
    ) -> None:
        while True:
            subscriber.wake.clear()
            if self.closing is not None:
                await self.close(self.closing)
                return
            final = ended()  # asked before reading: what was journaled before the end is still sent
            texts = await subscriber.next()
            for text in texts:
                await self.send(text)
                if self._is_closing():
                    break
            if texts:
                continue
            if final is not None and subscriber.caught_up:
                await self.close(final)
                return
            if receiver.done() and not self._is_closing():
                return
            await subscriber.wake.wait()
