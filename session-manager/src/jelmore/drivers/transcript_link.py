"""`TranscriptChannels` over a WebSocket and a streamed request on a runner's control socket."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import aiohttp
from pydantic import ValidationError

from jelmore.drivers.runner_answers import bounded, check_values, refusal_error, translated
from jelmore.drivers.runner_http import CONNECT_S, opened_session
from jelmore.ports import ControlAddress, RelayBreak
from jelmore.session.errors import DependencyError, RefusedError
from jelmore_protocol.events import read_json
from jelmore_protocol.frames import CloseCode
from jelmore_protocol.transcripts import MAX_TRANSCRIPT_FRAME_BYTES, TranscriptLine, WantedTranscript, stored_frame

HEARTBEAT_S: Final = 20.0
SEND_S: Final = 10.0
RESTORE_S: Final = 100.0


class TranscriptLink:
    """All runners that this manager follows."""

    @asynccontextmanager
    async def opened(self, at: ControlAddress, after: int) -> AsyncGenerator["Channel"]:
        """Follow the lines after `after`; see the port."""
        async with opened_session(at) as (session, base):
            try:
                async with translated(CONNECT_S):
                    websocket = await session.ws_connect(
                        f"{base}/transcript?after={after}",
                        heartbeat=HEARTBEAT_S,
                        max_msg_size=MAX_TRANSCRIPT_FRAME_BYTES,
                        timeout=aiohttp.ClientWSTimeout(ws_close=CONNECT_S),
                    )
            except DependencyError as error:
                if isinstance(error.__context__, aiohttp.WSServerHandshakeError):
                    raise RefusedError("runner", "it is of an earlier image, which sends no transcript") from None
                raise
            try:
                yield Channel(websocket, str(at.session_id))
            finally:
                await asyncio.shield(websocket.close())

    async def restore(self, at: ControlAddress, parts: AsyncIterable[bytes]) -> None:
        """Send a stored transcript; see the port."""
        async with (
            translated(RESTORE_S),
            opened_session(at) as (session, base),
            session.post(f"{base}/transcript", data=parts) as response,
        ):
            text = await bounded(response)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise refusal_error(response.status, text)


class Channel:
    """The `TranscriptChannel` port."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, session_id: str) -> None:
        self._websocket = websocket
        self._session_id = session_id

    async def next(self) -> Sequence[TranscriptLine] | WantedTranscript | None:
        """Return what has come; see the port."""
        while True:
            message = await self._websocket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                if self._websocket.close_code == CloseCode.ENDED:
                    return None
                raise RelayBreak(f"the transcript's connection ended ({self._websocket.close_code})")
            item = self._read(message.data)
            if item is not None:
                return item

    def _read(self, text: str) -> Sequence[TranscriptLine] | WantedTranscript | None:
        check_values(text, "the transcript's connection")
        try:
            frame = read_json(text)
            kind = frame["type"]
            if kind == "transcript":
                return [TranscriptLine.model_validate(frame)]
            if kind == "wanted":
                return WantedTranscript.model_validate(frame)
            if kind == "hello" and frame["session_id"] != self._session_id:
                raise DependencyError("runner", f"session {frame['session_id']} answers for {self._session_id}")
        except (ValueError, KeyError, TypeError, ValidationError):
            raise DependencyError("runner", "the transcript's connection sent something that is not a frame") from None
        return None

    async def stored(self, seq: int) -> None:
        """Say that every line up to `seq` is stored."""
        await self._send(stored_frame(seq))

    async def refuse(self, reason: str) -> None:
        """Say that nothing more is stored."""
        await self._send({"type": "refused", "reason": reason})

    async def _send(self, frame: dict[str, object]) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await self._websocket.send_json(frame)
        except (TimeoutError, aiohttp.ClientError, OSError, RuntimeError) as error:
            raise RelayBreak(f"the transcript's connection broke: {error}") from None
