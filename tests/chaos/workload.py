"""A session that is kept busy: prompts with ids, permissions answered, and every prompt followed to its end."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import httpx
from websockets.asyncio.client import connect

from tests.chaos.cursors import Cursor, Frame
from tests.chaos.installation import Installation
from tests.chaos.notebook import Notebook
from tests.chaos.subscribers import (
    BROKEN,
    follow_events,
    follow_socket,
    keep_following,
    poll_events,
    poll_output,
)
from tests.support.stack_client import SESSIONS

LEDGER: Final = "ledger.txt"
"""Each prompt adds its own id to this file of the workspace, so that what ran twice is seen there twice."""

_ACCEPTED_S: Final = 90.0
_TRY_S: Final = 15.0
_AGAIN_S: Final = 0.3


@dataclass(slots=True)
class Prompt:
    """One input and what is known of it."""

    id: str
    text: str
    accepted: bool = False
    refusals: list[str] = field(default_factory=list)


class Busy:
    """One session with its subscribers and its user. All its tasks belong to `tasks`."""

    def __init__(self, installation: Installation, http: httpx.AsyncClient, notebook: Notebook, created: Frame) -> None:
        self.id: str = created["id"]
        self.path = f"{SESSIONS}/{self.id}"
        self.prompts: list[Prompt] = []
        self.agent_kills = 0
        self._installation = installation
        self._http = http
        self._notebook = notebook
        self._token = {"Authorization": f"Bearer {created['token']}"}
        self._own_url: str = created["urls"]["ws"]
        self._settled: dict[str, str] = {}
        self._pending: set[str] = set()
        self.output = self._cursor("REST output")
        self.events = self._cursor("REST events")
        self.live = [self._cursor("own WebSocket"), self._cursor("SSE"), self._cursor("WebSocket stream")]

    def _cursor(self, channel: str) -> Cursor:
        return Cursor(f"{self.id} {channel}", self._notebook)

    @property
    def cursors(self) -> list[Cursor]:
        """Every subscriber to its output."""
        return [self.output, *self.live]

    # --- who watches

    def watch(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Start every subscriber, and whoever answers permissions."""
        own, sse, stream = self.live
        key = {"X-API-Key": self._installation.api_key}
        stream_url = f"{self._installation.url.replace('http', 'ws', 1)}{self.path}/stream"
        following = {
            "socket": keep_following(own, lambda: follow_socket(own, self._own_url, self._token)),
            "events": keep_following(sse, lambda: follow_events(sse, self._http, f"{self.path}/stream")),
            "stream": keep_following(stream, lambda: follow_socket(stream, stream_url, key)),
            "pages of output": keep_following(
                self.output, lambda: poll_output(self.output, self._http, f"{self.path}/output", self._on_event)
            ),
            "pages of events": keep_following(
                self.events, lambda: poll_events(self.events, self._http, f"{self.path}/events")
            ),
            "answers": self._answer(),
        }
        return [tasks.create_task(work, name=f"{name} of {self.path}") for name, work in following.items()]

    def _on_event(self, event: Frame) -> None:
        data: dict[str, Any] = event["data"]
        match event["kind"]:
            case "message" if data["message"].get("type") == "result" and data.get("input_id"):
                self._settled[data["input_id"]] = "result"
            case "interrupted":
                self._settled[data["input_id"]] = "interrupted"
            case "permission_requested" | "question":
                self._pending.add(data["request_id"])
            case "permission_resolved":
                self._pending.discard(data["request_id"])
            case _:
                pass

    async def _answer(self) -> None:
        while True:
            for request_id in list(self._pending):
                try:
                    answer = await self._http.post(
                        f"{self.path}/permissions/{request_id}", json={"decision": "allow"}, timeout=_TRY_S
                    )
                except BROKEN:
                    continue
                if answer.status_code in {200, 404, 409}:  # answered; or withdrawn, which its output is about to report
                    self._pending.discard(request_id)
            await asyncio.sleep(_AGAIN_S)

    # --- who types

    async def work(self, seed: str, stop: asyncio.Event) -> None:
        """Give prompts until asked to stop."""
        chance = random.Random(seed)
        while not stop.is_set():
            prompt = self._new_prompt(chance)
            await self.give(prompt, by_socket=chance.random() < 0.4)
            if chance.random() < 0.7:
                await self._until_settled(prompt, stop)
            pause_s = chance.choice((0, 0, 0.5, 2, 6, 13))  # the longer ones let it be frozen, and hibernate
            try:
                await asyncio.wait_for(stop.wait(), pause_s or 0.01)
            except TimeoutError:
                continue

    def _new_prompt(self, chance: random.Random) -> Prompt:
        prompt_id = str(uuid4())
        note = f"demo> run echo {prompt_id} >> {LEDGER}"
        shapes = (
            ["demo> words 40 30", note],
            [note, "demo> words 10 50"],
            [note, "demo> run git init -q work; date > work/now; git -C work add now", "demo> say done"],
            [f"demo> write note-{prompt_id[:4]}.txt {prompt_id}", note],
            [note, "demo> ask Which one? | this | that", "demo> say thanks"],
            [note, "demo> sleep 3", "demo> words 5 10"],
        )
        return Prompt(prompt_id, "\n".join(chance.choice(shapes)))

    async def give(self, prompt: Prompt, *, by_socket: bool = False) -> None:
        """Give a prompt until it is accepted; the same id makes that safe. Not within the time is a finding."""
        self.prompts.append(prompt)
        try:
            async with asyncio.timeout(_ACCEPTED_S):
                while not prompt.accepted:
                    try:
                        await (self._by_socket(prompt) if by_socket else self._by_rest(prompt))
                    except BROKEN as error:
                        prompt.refusals.append(repr(error))
                    if not prompt.accepted:
                        by_socket = False
                        await asyncio.sleep(_AGAIN_S)
        except TimeoutError:
            self._notebook.find(
                f"{self.id}: input {prompt.id} was not accepted in {_ACCEPTED_S} s: {prompt.refusals[-3:]}"
            )

    async def _by_rest(self, prompt: Prompt) -> None:
        body = {"input": prompt.text, "id": prompt.id}
        answer = await self._http.post(f"{self.path}/input", json=body, timeout=_TRY_S)
        prompt.accepted = answer.status_code == 202
        if not prompt.accepted:
            prompt.refusals.append(f"{answer.status_code} {answer.text[:200]}")

    async def _by_socket(self, prompt: Prompt) -> None:
        async with asyncio.timeout(_TRY_S):
            async with connect(
                self._own_url,
                subprotocols=["jelmore.v1"],  # type: ignore[list-item]  # a NewType of str
                additional_headers=self._token,
                close_timeout=2,
                proxy=None,
            ) as socket:
                await socket.send(json.dumps({"type": "input", "id": prompt.id, "input": prompt.text}))
                async for text in socket:
                    frame = json.loads(text)
                    if frame["type"] in {"ack", "error"} and frame.get("id") == prompt.id:
                        prompt.accepted = frame["type"] == "ack"
                        if not prompt.accepted:
                            prompt.refusals.append(str(frame))
                        return

    async def _until_settled(self, prompt: Prompt, stop: asyncio.Event) -> None:
        while prompt.accepted and prompt.id not in self._settled and not stop.is_set():
            await asyncio.sleep(0.1)

    def unsettled(self) -> list[str]:
        """Return the accepted prompts whose end is not known yet."""
        return [prompt.id for prompt in self.prompts if prompt.accepted and prompt.id not in self._settled]

    def short_prompt(self) -> Prompt:
        """Return a prompt that is answered with one word."""
        return Prompt(str(uuid4()), "demo> say here")

    async def answers(self, seconds: float) -> float | None:
        """Give a prompt of one word and return after how long its result came; None when it did not in time."""
        prompt = self.short_prompt()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.give(prompt)
        while prompt.id not in self._settled:
            if loop.time() - began > seconds:
                return None
            await asyncio.sleep(0.05)
        return loop.time() - began
