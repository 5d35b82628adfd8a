"""Subscribers of one session, one per channel. Each comes back with its last seq whenever it is cut off."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidMessage, WebSocketException

from tests.chaos.cursors import Cursor, Frame, digest, digest_of

_OPEN_S: Final = 10.0
_SILENCE_S: Final = 25.0
_AGAIN_S: Final = 0.25
_POLL_S: Final = 0.5
_PAGE: Final = 1000
_MAX_FRAME_BYTES: Final = 64 * 1024 * 1024

BROKEN: Final = (OSError, TimeoutError, WebSocketException, InvalidHandshake, InvalidMessage, httpx.HTTPError)
"""What being cut off looks like, on any channel."""


async def keep_following(cursor: Cursor, once: Callable[[], Awaitable[None]]) -> None:
    """Follow for ever: again after each end, until cancelled."""
    while True:
        try:
            cursor.connections += 1
            await once()
        except BROKEN:
            pass
        await asyncio.sleep(_AGAIN_S)


async def follow_socket(cursor: Cursor, url: str, headers: dict[str, str]) -> None:
    """Follow a WebSocket, the session's own or the manager's, to its end."""
    async with connect(
        f"{url}?after={cursor.position}",
        subprotocols=["jelmore.v1"],  # type: ignore[list-item]  # a NewType of str
        additional_headers=headers,
        max_size=_MAX_FRAME_BYTES,
        open_timeout=_OPEN_S,
        close_timeout=2,
        ping_interval=5,
        ping_timeout=10,
        proxy=None,
    ) as socket:
        async for text in socket:
            _frame(cursor, json.loads(text))


async def follow_events(cursor: Cursor, http: httpx.AsyncClient, path: str) -> None:
    """Follow server-sent events to their end."""
    timeout = httpx.Timeout(_OPEN_S, read=_SILENCE_S)
    headers = {"Last-Event-ID": str(cursor.position), "Accept": "text/event-stream"}
    async with http.stream("GET", path, headers=headers, timeout=timeout) as answer:
        answer.raise_for_status()
        kind = ""
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data" and kind in {"hello", "event"}:
                _frame(cursor, json.loads(value))


async def poll_output(cursor: Cursor, http: httpx.AsyncClient, path: str, on_event: Callable[[Frame], None]) -> None:
    """Ask for stored output again and again; `on_event` gets each event once."""
    while True:
        answer = await http.get(path, params={"after": cursor.position, "limit": _PAGE}, timeout=_OPEN_S)
        answer.raise_for_status()
        for event in answer.json():
            cursor.take(event["seq"], digest_of(event))
            on_event(event)
        await asyncio.sleep(_POLL_S)


async def poll_events(cursor: Cursor, http: httpx.AsyncClient, path: str) -> None:
    """Ask for the session's events again and again."""
    while True:
        answer = await http.get(path, params={"after": cursor.position, "limit": _PAGE}, timeout=_OPEN_S)
        answer.raise_for_status()
        for event in answer.json():
            cursor.take(event["seq"], event_mark(event))
        await asyncio.sleep(2 * _POLL_S)


def event_mark(event: Frame) -> str:
    """Return the mark of an event, from REST or from the bus."""
    return digest(event["event_type"], event["payload"], event["output_seq"])


def _frame(cursor: Cursor, frame: dict[str, Any]) -> None:
    if frame["type"] == "hello" and frame["resume"] == "gap":
        cursor.gap()
    elif frame["type"] == "event":
        cursor.take(frame["seq"], digest_of(frame))
