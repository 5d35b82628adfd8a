"""Follow a session on a terminal and talk to it: `jelmore attach`."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from prompt_toolkit import PromptSession
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.patch_stdout import patch_stdout

from jelmore_client import (
    Answer,
    AsyncJelmore,
    AsyncSession,
    ConflictError,
    ConnectionFailedError,
    Event,
    JelmoreError,
    Pending,
)
from jelmore_client.cli.blocks import Block, blocks_of, printable, rules_of
from jelmore_client.cli.choices import UnclearError, choice, parts_of
from jelmore_client.cli.forms import FORM, form_parts, value_of
from jelmore_client.cli.printing import Printer, short
from jelmore_client.core.requests import new_id

_ALLOW: Final = frozenset({"y", "yes", "allow"})
_ALWAYS: Final = frozenset({"a", "always"})
_DENY: Final = frozenset({"n", "no", "deny"})
_DECLINE: Final = "/decline"

_WRITTEN: Final = frozenset({"said", "tool_used", "turn_ended", "interrupted", "exited"})
"""What ends a message that is being written."""

_WRITING_CHARACTERS: Final = 400
_WRITING_LINES: Final = 6
_QUEUED_CHARACTERS: Final = 60
_QUEUED_LINES: Final = 3
_LONG_DELAY_S: Final = 1.0
_LOOK_S: Final = 2.0
_SLOW_S: Final = 2.0


@dataclass(slots=True)
class Conversation:
    """What the terminal knows of the session."""

    running: bool = False
    queue: dict[str, str] = field(default_factory=dict)
    """The prompts that wait for the running turn, by their id, in their order."""

    pending: list[Pending] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    """What was given to the first pending request: by question, or by field of a form; None is left out."""

    cost_usd: float = 0.0
    ended: bool = False
    away: bool = False
    """Whether the server does not answer."""

    writing: str = ""
    """The end of the message that is being written. The whole message replaces it."""

    def take(self, event: Event) -> None:
        """Learn from an event."""
        data = event.data
        if event.kind == "delta":
            self.writing = (self.writing + piece_of(data))[-_WRITING_CHARACTERS:]
            return
        if event.kind in _WRITTEN:
            self.writing = ""
        match event.kind:
            case "input":
                if self.running:
                    self.queue[_id_of(event)] = str(data.get("input") or "")
                self.running = True
            case "input_changed":
                self.queue |= {_id_of(event): str(data.get("input") or "")} if _id_of(event) in self.queue else {}
            case "input_cancelled":
                self.queue.pop(_id_of(event), None)
            case "permission_requested" | "question":
                self.wait_for(Pending.model_validate(data))
            case "permission_resolved":
                first = self.pending[:1]
                self.pending = [each for each in self.pending if each.request_id != data.get("request_id")]
                self.answers = self.answers if self.pending[:1] == first else {}
            case "turn_ended" | "interrupted":
                self.running = bool(self.queue)
                self.queue.pop(next(iter(self.queue), ""), None)
                self.cost_usd = float(data.get("total_cost_usd") or self.cost_usd)
            case "exited":
                self.running, self.queue, self.pending = False, {}, []
            case _:
                pass

    def wait_for(self, request: Pending) -> None:
        """Learn of a request that waits. May be called twice."""
        if request.request_id not in {each.request_id for each in self.pending}:
            self.pending.append(request)

    def question(self) -> dict[str, Any] | None:
        """Return the part of a pending question that is to be answered next."""
        if not self.pending or self.pending[0].waiting_for != "question":
            return None
        given = self.pending[0].input
        return next((each for each in parts_of(given) or form_parts(given) if _key(each) not in self.answers), None)

    def prompt(self) -> str:
        """Return the text before the cursor: the last lines of what is being written, and what is to be typed."""
        lines = printable(self.writing).strip("\n").split("\n")[-_WRITING_LINES:] if self.writing.strip() else []
        return "\n".join([*lines, self._sign()])

    def _sign(self) -> str:
        if self.question() is not None:
            return f"answer (number or text, {_DECLINE}) > "
        if self.pending:
            rules = ", ".join(rules_of(self.pending[0].suggestions)).replace("\n", " ")
            always = f"a (always {rules[:_QUEUED_CHARACTERS]})" if rules else "a (always)"
            return f"allow? y, {always}, n, or n and a reason > "
        return "> "

    def toolbar(self, session_id: str) -> str:
        """Return the line at the bottom, and above it the beginnings of the prompts that wait."""
        state = "waits for you" if self.pending else "working" if self.running else "ready"
        state = "ended" if self.ended else "the server does not answer, trying again" if self.away else state
        queue = f" · {len(self.queue)} queued" if self.queue else ""
        cost = f" · ${self.cost_usd:.4f}" if self.cost_usd else ""
        line = f" {short(session_id)} · {state}{queue}{cost} · Ctrl-C interrupts · Ctrl-D leaves"
        return "\n".join([*self._queue_lines(), line])

    def _queue_lines(self) -> list[str]:
        """Return a line with the first words of each of the next prompts, and how many more there are."""
        texts = [" ".join(printable(text).split()) for text in self.queue.values()]
        shown = [
            f" next: {text if len(text) <= _QUEUED_CHARACTERS else text[:_QUEUED_CHARACTERS] + '…'}"
            for text in texts[:_QUEUED_LINES]
        ]
        more = len(texts) - len(shown)
        return [*shown, f" and {more} more"] if more else shown


def _key(part: dict[str, Any]) -> str:
    return str(part.get("name") or part.get("question"))


def _id_of(event: Event) -> str:
    return str(event.data.get("id") or event.seq)


def piece_of(data: dict[str, Any]) -> str:
    """Return the text of a delta; none of a thought, and none of a sub-agent, whose messages come whole."""
    event = data.get("event")
    delta = event.get("delta") if isinstance(event, dict) else None
    text = delta.get("text") if isinstance(delta, dict) else None
    return text if isinstance(text, str) and not data.get("parent_tool_use_id") else ""


def answer_of(conversation: Conversation, line: str) -> Answer | None:
    """Return the answer that `line` gives to the first pending request; None when a question has more parts.

    Raises UnclearError.
    """
    typed = line.strip()
    part = conversation.question()
    if part is not None:
        if typed == _DECLINE:
            return Answer.deny()
        conversation.answers[_key(part)] = value_of(part, typed) if "field" in part else choice(part, typed)
        return None if conversation.question() is not None else _complete(conversation)
    word, _, reason = typed.partition(" ")
    if word.lower() in _ALLOW:
        return Answer.allow()
    if word.lower() in _ALWAYS:
        return Answer.allow(always=True)
    if word.lower() in _DENY:
        return Answer.deny(reason.strip() or None)
    raise UnclearError("type y to allow, a to allow the same for the session, n to deny, or n and a reason")


def _complete(conversation: Conversation) -> Answer:
    """Return the answer to the first pending request, all of whose questions or fields have one."""
    given, conversation.answers = conversation.answers, {}  # what the server refuses is asked again
    if conversation.pending[0].tool != FORM:
        return Answer.choose(given)
    return Answer.allow({name: value for name, value in given.items() if value is not None})


def question_blocks(part: dict[str, Any]) -> list[Block]:
    """Return a question and its numbered options."""
    options = [each for each in part.get("options") or [] if isinstance(each, dict)]
    lines = [
        f"{number}. {each.get('label')}  {each.get('description') or ''}" for number, each in enumerate(options, 1)
    ]
    return [Block("asks", printable(str(part.get("question")))), Block("output", printable("\n".join(lines)))]


async def attach(url: str, api_key: str, session_id: str, *, prompt: str | None, after: int) -> int:
    """Follow the session until it ends or the user leaves. Returns the exit code."""
    async with AsyncJelmore(url, api_key=api_key) as client:
        session = await client.sessions.get(session_id)
        if prompt is not None:
            await session.send(prompt)
        terminal = _Terminal(session)
        client.on_retry = terminal.retries
        return await terminal.run(after)


class _Terminal:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._printer = Printer()
        self._conversation = Conversation()
        self._calls: set[asyncio.Task[None]] = set()
        self._unsent = ("", "")  # the last prompt that was not sent, and its id: the server may have it nevertheless
        self._prompt: PromptSession[str] = PromptSession(
            message=self._conversation.prompt,
            bottom_toolbar=lambda: self._conversation.toolbar(session.id),
            key_bindings=self._keys(),
            erase_when_done=True,
        )

    async def run(self, after: int) -> int:
        with patch_stdout(raw=True):
            tasks = [
                asyncio.create_task(self._follow(after), name="attach: follow"),
                asyncio.create_task(self._read(), name="attach: read"),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in [*tasks, *self._calls]:
                    task.cancel()
                await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return 0

    def retries(self, error: JelmoreError, delay_s: float) -> None:
        """Show that the server is away, until it answers again."""
        if isinstance(error, ConnectionFailedError) and delay_s >= _LONG_DELAY_S and not self._conversation.away:
            self._conversation.away = True
            self._call(self._until_back)

    async def _until_back(self) -> None:
        while self._conversation.away:
            self._prompt.app.invalidate()
            await asyncio.sleep(_LOOK_S)
            with suppress(JelmoreError):
                await self._session.refresh()
                self._conversation.away = False
        self._prompt.app.invalidate()

    async def _catch_up(self) -> None:
        """Learn what waits and whether a turn runs: its events are before those that are read."""
        self._conversation.running = self._session.info.status == "active"
        if not self._session.info.ended:
            self._conversation.queue = {each.input_id: each.input for each in await self._session.queue()}
        for request in [] if self._session.info.ended else await self._session.pending():
            self._conversation.running = True
            self._conversation.wait_for(request)
            self._printer.block(Block("asks", request.title or request.tool))
            self._show_question(request.waiting_for)

    async def _follow(self, after: int) -> None:
        if after:
            await self._catch_up()
        async with aclosing(self._session.events(after=after, deltas=True)) as events:
            async for event in events:
                self._conversation.take(event)
                for block in blocks_of(event):
                    self._printer.block(block)
                self._show_question(event.kind)
                self._prompt.app.invalidate()
        self._conversation.ended = True
        self._printer.block(Block("end", "the session has ended"))

    def _show_question(self, kind: str) -> None:
        part = self._conversation.question() if kind == "question" else None
        shown = self._conversation.pending[0].title if part is not None and not self._conversation.answers else None
        for block in question_blocks(part) if part is not None else []:
            if block.style != "asks" or block.text != shown:  # the title of a request with one question is that
                self._printer.block(block)

    async def _read(self) -> None:
        unsent = ""
        while True:
            try:
                line = await self._prompt.prompt_async(default=unsent)
            except EOFError:
                return
            if not line.strip():
                continue
            slow = asyncio.get_running_loop().call_later(_SLOW_S, self._printer.block, Block("note", "sending …"))
            try:
                unsent = "" if await self._execute(line) else line
            finally:
                slow.cancel()

    async def _execute(self, line: str) -> bool:
        """Send a line, as a prompt or an answer. False: it was not sent, and is typed again for the user."""
        request = next(iter(self._conversation.pending), None)
        try:
            if request is None:
                await self._send(line)
                return True
            answer = answer_of(self._conversation, line)
            if answer is None:
                self._show_question("question")
                return True
            await self._session.answer(request.request_id, answer)
        except UnclearError as error:
            self._printer.block(Block("note", str(error)))
            return False  # it may be a prompt that was being typed when the agent asked
        except ConflictError as error:
            answered = request is not None
            self._printer.block(Block("note", "somebody else has answered" if answered else str(error)))
            return answered
        except JelmoreError as error:
            self._printer.block(Block("error", f"not sent: {error}"))
            self._show_question("question")
            return False
        return True

    async def _send(self, line: str) -> None:
        before, input_id = self._unsent
        self._unsent = (line, input_id if line == before else new_id())
        await self._session.send(line, input_id=self._unsent[1])
        self._unsent = ("", "")

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-c")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.reset()
            if self._conversation.running:
                self._call(self._interrupt)
            else:
                self._printer.block(Block("note", "no turn runs; Ctrl-D leaves, 'jelmore rm' ends the session"))

        return keys

    def _call(self, act: Callable[[], Any]) -> None:
        task = asyncio.create_task(act(), name="attach: key")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _interrupt(self) -> None:
        with suppress(JelmoreError):
            await self._session.interrupt()
