"""Prompts, their turns and what those ask, asynchronously. `_sync_turns.py` is generated from this file."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from jelmore_client.core import requests, turns
from jelmore_client.core.requests import Prompt, Request
from jelmore_client.core.streams import Cursor
from jelmore_client.errors import ConflictError, NeedsAnswerError, ended_early
from jelmore_client.models import (
    Accepted,
    Answer,
    Command,
    Event,
    Message,
    Pending,
    QueueChange,
    QueuedInput,
    TurnResult,
)

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore
    from jelmore_client.models import SessionInfo

type AsyncAnswerer = Callable[[Pending], Awaitable[Answer | None]]
"""Answers a permission or a question; None leaves it to somebody else."""


class AsyncSessionTurns:
    """The calls of a session on its conversation."""

    _client: "AsyncJelmore"
    info: "SessionInfo"

    def _path(self, *parts: str) -> str:
        raise NotImplementedError

    async def send(self, prompt: Prompt, *, input_id: str | None = None, expand: bool = False) -> Accepted:
        """Send a prompt without waiting for its turn. The same `input_id` again is the same prompt.

        A prompt is a text, or content blocks: `{"type": "text", …}`, images, documents. With `expand`, a text that
        begins with a slash command runs it, and `@path` adds a file.
        """
        return await self._client.fetch(requests.send_input(self.info.id, prompt, input_id, expand=expand), Accepted)

    async def ask(
        self, prompt: Prompt, *, timeout_s: float | None = None, on_request: AsyncAnswerer | None = None
    ) -> TurnResult:
        """Send a prompt and return the turn's result.

        `on_request` answers the agent's permissions and questions; without it, or when it returns None, the first
        request raises NeedsAnswerError. Raises TimeoutError after `timeout_s`; the turn continues until `interrupt`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        request = requests.send_input(self.info.id, prompt, None, deadline=deadline)
        accepted = await self._client.fetch(request, Accepted)
        return await self._result(accepted, deadline, on_request)

    async def result(
        self, accepted: Accepted, *, timeout_s: float | None = None, on_request: AsyncAnswerer | None = None
    ) -> TurnResult:
        """Wait for the turn of an accepted prompt, as `ask` does. Raises SessionEndedError when it cannot finish.

        A prompt that somebody removes from the queue has failed, with the subtype `cancelled`.
        """
        return await self._result(accepted, None if timeout_s is None else time.monotonic() + timeout_s, on_request)

    async def _result(self, accepted: Accepted, deadline: float | None, on_request: AsyncAnswerer | None) -> TurnResult:
        for waiting in await self._pending(deadline):  # of an earlier turn too: this one is queued behind it
            await self._answer_by(waiting, deadline, on_request)
        timeout_s = turns.left_s(deadline, time.monotonic())
        async with aclosing(self.events(after=max(0, accepted.seq - 1), timeout_s=timeout_s)) as events:
            async for event in events:
                if event.kind in {"permission_requested", "question"}:
                    await self._answer_by(Pending.read(event.data), deadline, on_request)
                if (result := turns.result_of(event, accepted.input_id)) is not None:
                    return result
        raise ended_early(self.info.id)

    async def _answer_by(self, pending: Pending, deadline: float | None, answerer: AsyncAnswerer | None) -> None:
        still = [each.request_id for each in await self._pending(deadline)]
        if pending.request_id not in still:
            return  # answered meanwhile, by somebody else
        answer = None if answerer is None else await answerer(pending)
        if answer is None:
            raise NeedsAnswerError(pending)
        with suppress(ConflictError):  # somebody else was first
            await self._answer(pending.request_id, answer, deadline)

    async def events(
        self, *, after: int | None = 0, timeout_s: float | None = None, deltas: bool = False
    ) -> AsyncGenerator[Event]:
        """Yield the session's output after `after` (None: only new output), live, until the session ends.

        Connects again when a connection breaks: no event is lost and none comes twice. Raises StreamGapError when
        requested output is no longer stored, ApiError when the server refuses, TimeoutError after `timeout_s`. With
        `deltas` also events of the kind `delta`: pieces of messages, with the seq of what was before; some may be lost.
        """
        cursor = Cursor(after, deltas=deltas, deadline=None if timeout_s is None else time.monotonic() + timeout_s)
        async with aclosing(self._client.follow(self._path("stream"), cursor)) as events:
            async for event in events:
                yield event

    async def pending(self) -> list[Pending]:
        """Return the permissions, questions and connections that wait for an answer."""
        return await self._pending(None)

    async def _pending(self, deadline: float | None) -> list[Pending]:
        request = Request("GET", self._path("permissions"), deadline=deadline)
        return await self._client.fetch_all(request, Pending, "pending")

    async def answer(self, request_id: str, answer: Answer) -> None:
        """Answer a permission, question or connection. Raises ConflictError when somebody else was first."""
        await self._answer(request_id, answer, None)

    async def _answer(self, request_id: str, answer: Answer, deadline: float | None) -> None:
        body, path = answer.model_dump(exclude_none=True), self._path("permissions", request_id)
        await self._client.request(Request("POST", path, json=body, repeatable=False, deadline=deadline))

    async def queue(self) -> list[QueuedInput]:
        """Return the prompts that wait for the agent, in order, also those that its session is being resumed for."""
        return await self._client.fetch_all(Request("GET", self._path("queue")), QueuedInput, "inputs")

    async def messages(self, *, after: int = 0) -> AsyncIterator[Message]:
        """Yield the conversation's stored messages."""
        request = Request("GET", self._path("messages"), params={"after": after, "limit": 500})
        async with aclosing(self._client.fetch_pages(request, Message)) as messages:
            async for message in messages:
                yield message

    async def interrupt(self) -> None:
        """Stop the running turn. May be called when none runs.

        Not repeated: when the turn has stopped, the next prompt of the queue runs, and would be stopped too.
        """
        await self._client.request(Request("POST", self._path("interrupt"), repeatable=False))

    async def change_queued(self, input_id: str, text: str) -> QueueChange:
        """Give a prompt that waits for the agent another text; it keeps its place. May be called twice.

        Raises ConflictError when the agent has it already, NotFoundError without such a prompt.
        """
        request = Request("PATCH", self._path("queue", input_id), json={"input": text})
        return await self._client.fetch(request, QueueChange)

    async def cancel_queued(self, input_id: str) -> QueueChange:
        """Remove a prompt that waits for the agent: it never runs. Raises as `change_queued` does."""
        request = Request("DELETE", self._path("queue", input_id), repeatable=False)
        return await self._client.fetch(request, QueueChange)

    async def commands(self) -> list[Command]:
        """Return the slash commands that a prompt with `expand` may begin with.

        Raises ConflictError while the session is not awake: only its agent knows them.
        """
        return await self._client.fetch_all(Request("GET", self._path("commands")), Command, "commands")
