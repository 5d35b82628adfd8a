"""What a user of a stack does: calls over HTTP, a conversation over WebSocket, and looks into the stores to compare."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.stack import Stack

SESSIONS: Final = "/api/v1/sessions"
PATIENCE_S: Final = 30.0
_MAX_FRAME_BYTES: Final = 64 * 1024 * 1024

type Frame = dict[str, Any]


class Api:
    """The REST calls of one key."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.http = httpx.AsyncClient(
            base_url=stack.url, headers={"X-API-Key": stack.api_key}, timeout=90, trust_env=False
        )

    async def create(self, query: str | None = None, **body: Any) -> Frame:
        """Return a new session, with its token."""
        body = {**body, "query": query} if query is not None else body
        answer = await self.http.post(SESSIONS, json=body)
        assert answer.status_code == 201, answer.text
        created: Frame = answer.json()
        return created

    async def get(self, session_id: str, what: str = "", **query: Any) -> Any:
        """Return what a GET below the session answers."""
        answer = await self.http.get(f"{SESSIONS}/{session_id}{what}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, session_id: str, what: str, body: Frame | None = None) -> httpx.Response:
        """Return the answer of a POST below the session."""
        return await self.http.post(f"{SESSIONS}/{session_id}{what}", json=body)

    async def delete(self, session_id: str) -> Frame:
        """End a session; return it."""
        answer = await self.http.delete(f"{SESSIONS}/{session_id}")
        assert answer.status_code == 200, answer.text
        ended: Frame = answer.json()
        return ended

    async def until(self, session_id: str, *, seconds: float = PATIENCE_S, **wanted: Any) -> Frame:
        """Return the session once all `wanted` fields have these values."""
        shown: Frame = {}

        async def there() -> bool:
            nonlocal shown
            answer = await self.http.get(f"{SESSIONS}/{session_id}")
            if answer.status_code != 200:
                return False  # the manager may be away just now
            shown = answer.json()
            return all(shown[name] == value for name, value in wanted.items())

        await eventually(there, seconds=seconds, what=lambda: f"{wanted}; it is {shown}")
        return shown

    async def ask(self, session_id: str, prompt: str, *, wait_s: int = 60) -> Frame:
        """Give a prompt; return the turn's result message."""
        answer = await self.http.post(f"{SESSIONS}/{session_id}/input?wait={wait_s}", json={"input": prompt})
        assert answer.status_code == 200, answer.text
        result: Frame = answer.json()["result"]
        return result

    async def all(self, session_id: str, what: str) -> list[Frame]:
        """Return the whole of `output` or `events`, page by page."""
        found: list[Frame] = []
        while page := await self.get(session_id, f"/{what}", after=found[-1]["seq"] if found else 0, limit=1000):
            found += page
        return found

    async def live(self) -> list[str]:
        """Return the sessions that have not ended."""
        answer = await self.http.get(SESSIONS, params={"limit": 1000})
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json() if each["terminated_at"] is None]

    async def close(self) -> None:
        """End every session, so that the next test has all the slots."""
        try:
            await asyncio.gather(*(self.delete(session_id) for session_id in await self.live()))
        finally:
            await self.http.aclose()


class Talk:
    """A WebSocket that keeps every frame it was sent. Use as `async with`."""

    def __init__(self, url: str, *, token: str | None = None, after: int | None = None, key: str | None = None) -> None:
        self._url = url if after is None else f"{url}?after={after}"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {"X-API-Key": key} if key else {}
        self.frames: list[Frame] = []
        self.code: int | None = None
        self._moved = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._socket = await connect(
            self._url,
            subprotocols=["jelmore.v1"],  # type: ignore[list-item]  # a NewType of str
            additional_headers=self._headers,
            max_size=_MAX_FRAME_BYTES,
            open_timeout=PATIENCE_S,
            proxy=None,
        )
        self._reader = asyncio.create_task(self._read(self._socket), name=f"frames of {self._url}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._socket is not None
        assert self._reader is not None
        await self._socket.close()
        await self._reader

    @property
    def events(self) -> list[Frame]:
        """The numbered frames so far."""
        return [frame for frame in self.frames if frame["type"] == "event"]

    @property
    def seqs(self) -> list[int]:
        """Their numbers."""
        return [frame["seq"] for frame in self.events]

    async def send(self, **frame: Any) -> None:
        """Send a frame."""
        assert self._socket is not None
        await self._socket.send(json.dumps(frame))

    async def frame(self, wanted: Callable[[Frame], bool], *, since: int = 0, seconds: float = PATIENCE_S) -> Frame:
        """Return the first frame from position `since` on that is wanted."""
        found: list[Frame] = []

        def there() -> bool:
            found[:] = [each for each in self.frames[since:] if wanted(each)][:1]
            return bool(found)

        await self._until(there, seconds)
        return found[0]

    async def said(self, text: str, *, seconds: float = PATIENCE_S) -> Frame:
        """Return the first event that holds `text`."""
        return await self.frame(lambda each: each["type"] == "event" and text in json.dumps(each), seconds=seconds)

    async def turn(self, *, since: int = 0, seconds: float = PATIENCE_S) -> Frame:
        """Return the event with which a turn ended, the first from position `since` on."""
        return await self.frame(is_result, since=since, seconds=seconds)

    async def closed(self, *, seconds: float = PATIENCE_S) -> int | None:
        """Return the code the server closed with."""
        await self._until(lambda: self._reader is not None and self._reader.done(), seconds)
        return self.code

    async def _read(self, connection: ClientConnection) -> None:
        try:
            async for text in connection:
                self.frames.append(json.loads(text))
                self._moved.set()
        except ConnectionClosed:
            pass  # the code says it
        finally:
            self.code = connection.close_code
            self._moved.set()

    async def _until(self, there: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not there():
                    self._moved.clear()
                    if self._reader is not None and self._reader.done():
                        await asyncio.sleep(0)
                        assert there(), f"closed with {self.code} before it came; last: {self.frames[-3:]}"
                        return
                    waiter = asyncio.create_task(self._moved.wait(), name="next frame")
                    await asyncio.wait(
                        {waiter, *([self._reader] if self._reader else [])}, return_when="FIRST_COMPLETED"
                    )
                    waiter.cancel()
        except TimeoutError:
            raise AssertionError(f"no such frame within {seconds} s; last: {self.frames[-3:]}") from None


def talk_to(created: Frame, after: int | None = None) -> Talk:
    """Return a connection to a session's own URL, with the token its creation gave."""
    return Talk(created["urls"]["ws"], token=created["token"], after=after)


async def eventually(
    condition: Callable[[], Awaitable[bool]], *, seconds: float = PATIENCE_S, what: Callable[[], str]
) -> None:
    """Return when `condition` holds; what breaks meanwhile counts as not yet."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    if await condition():
                        return
                except (httpx.TransportError, OSError):
                    pass
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"did not happen within {seconds} s: {what()}") from None


async def server_sent(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str | None, Frame]]:
    """Yield id and frame of each server-sent event."""
    fields: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif not line:
            if "data" in fields:
                yield fields.get("id"), json.loads(fields["data"])
            fields = {}


def is_result(frame: Frame) -> bool:
    """Return whether the event ends a turn."""
    return bool(frame.get("kind") == "message" and frame["data"]["message"]["type"] == "result")


def is_text_delta(frame: Frame) -> bool:
    """Return whether the frame is a piece of a text that is still being written."""
    return bool(frame["type"] == "delta" and frame["data"]["event"].get("delta", {}).get("type") == "text_delta")


def tool_answers(events: list[Frame]) -> list[str]:
    """Return what the agent's tools answered, in order."""
    found: list[str] = []
    for event in events:
        if event["kind"] != "message" or event["data"]["message"]["type"] != "user":
            continue
        content = event["data"]["message"]["message"]["content"]
        for block in content if isinstance(content, list) else []:
            if block.get("type") == "tool_result":
                inner = block.get("content")
                found.append(inner if isinstance(inner, str) else "".join(part.get("text", "") for part in inner or []))
    return found
