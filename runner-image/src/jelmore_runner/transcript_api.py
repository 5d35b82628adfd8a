"""The transcript's two ways on the control socket: lines to the manager, and a stored transcript back."""

import asyncio
import json
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from jelmore_protocol.events import read_json
from jelmore_protocol.frames import CloseCode, ErrorCode
from jelmore_protocol.websocket_server import ClosedError, CloseError, Connection
from jelmore_runner.errors import RefusedError
from jelmore_runner.runner import Runner
from jelmore_runner.transcripts import NotKeptError

RESTORE_S: Final = 120.0


async def take_restored(runner: Runner, request: Request) -> Response:
    """Take the stored transcript. Raises RefusedError when none is asked for, or it does not arrive."""
    try:
        async with asyncio.timeout(RESTORE_S):
            taken = await runner.transcripts.restore(request.stream())
    except (TimeoutError, ClientDisconnect):
        raise RefusedError(ErrorCode.BAD_FRAME, "the transcript did not arrive") from None
    except (NotKeptError, OSError) as error:
        raise RefusedError(ErrorCode.UNAVAILABLE, f"the transcript cannot be kept: {error}") from None
    if not taken:
        raise RefusedError(ErrorCode.CONFLICT, "no transcript is asked for")
    return Response(runner.health().model_dump_json(), media_type="application/json")


async def follow(runner: Runner, websocket: WebSocket, after: int | None) -> None:
    """Send the lines after `after` as they come, until all are stored after the end of the run."""
    await websocket.accept()
    connection = Connection(websocket, runner.settings.send_timeout_s)
    try:
        await runner.opened_conversation()
        hello = {"type": "hello", "session_id": runner.init.session_id if runner.init else None}
        await connection.send(json.dumps({**hello, "seq": runner.transcripts.last}))
        await _exchange(runner, connection, after or 0)
    except RefusedError:
        await connection.close(CloseCode.TRY_LATER)
    except CloseError as close:
        await connection.close(close.code)
    except (ClosedError, OSError):
        return


async def _exchange(runner: Runner, connection: Connection, after: int) -> None:
    """Send lines and read answers until either ends. Raises CloseError, ClosedError, OSError."""
    listener = asyncio.create_task(_listen(runner, connection), name="transcript answers")
    sender = asyncio.create_task(_send(runner, connection, after), name="transcript lines")
    try:
        done, _ = await asyncio.wait({listener, sender}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (listener, sender):
            task.cancel()
        await asyncio.gather(listener, sender, return_exceptions=True)
    for task in done:
        task.result()


async def _send(runner: Runner, connection: Connection, after: int) -> None:
    transcripts, asked = runner.transcripts, None
    while True:
        changed = transcripts.changed
        ended = runner.finished.is_set()
        if transcripts.wanted is not None and transcripts.wanted != asked:
            asked = transcripts.wanted
            await connection.send(json.dumps({"type": "wanted", "conversation_id": asked}))
        lines = await transcripts.read(after)
        for seq, text in lines:
            await connection.send(text)
            after = seq
        if lines:
            continue
        if ended and transcripts.acknowledged >= transcripts.last:
            raise CloseError(CloseCode.ENDED)
        await changed.wait()


async def _listen(runner: Runner, connection: Connection) -> None:
    while True:
        frame = _frame(await connection.receive())
        if frame.get("type") == "stored" and isinstance(frame.get("seq"), int):
            await runner.transcripts.stored(frame["seq"])
        elif frame.get("type") == "refused":
            reason = str(frame.get("reason"))[:1000]
            runner.transcripts.refused(reason)
            runner.live_conversation().error("transcript_not_stored", reason)
            raise CloseError(CloseCode.ENDED)


def _frame(text: str | None) -> dict[str, Any]:
    try:
        frame = read_json(text or "")
    except ValueError:
        return {}
    return frame if isinstance(frame, dict) else {}
