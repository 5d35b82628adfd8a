"""An MCP server over a Jelmore server: another agent lists, starts, prompts, answers and stops sessions.

Each tool is one call of the client. A turn may take longer than a client waits for a tool, so starting and waiting
are separate: `start_session` and `send_prompt` return an `input_id`, `wait_for_turn` waits for its turn.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from jelmore_client import Accepted, Answer, AsyncJelmore, AsyncSession, JelmoreError, NeedsAnswerError, Pending
from jelmore_client.cli.choices import parts_of
from jelmore_client.core.requests import title_of
from jelmore_client.errors import SessionEndedError
from jelmore_client.models import SessionInfo

MAX_WAIT_S: Final = 600.0
_INSTRUCTIONS: Final = (
    "Sessions are coding agents that work in sandboxes of their own. Start one with start_session, wait with "
    "wait_for_turn. When a turn waits for a permission or an answer, wait_for_turn returns it: decide, call "
    "answer_request, and wait again."
)
_READS: Final = ToolAnnotations(read_only_hint=True)

SessionId = Annotated[str, Field(description="The id of a session.")]
WaitS = Annotated[float, Field(ge=0, le=MAX_WAIT_S, description="Seconds to wait for the turn; 0 returns at once.")]


class Asked(BaseModel):
    """A permission or a question that the session's agent waits for. Answer it with answer_request."""

    request_id: str
    waiting_for: str
    tool: str
    title: str
    input: dict[str, Any]


class Overview(BaseModel):
    """A session in brief."""

    session_id: str
    status: str
    waiting_for: str | None
    title: str | None
    model: str | None
    turns: int
    cost_usd: float
    asks: list[Asked] = Field(default_factory=list)


class Turn(BaseModel):
    """A turn: running, waiting (see `asks`), completed or failed (see `reason`). `text` is the agent's answer."""

    session_id: str
    input_id: str
    state: Literal["running", "waiting", "completed", "failed"]
    text: str = ""
    reason: str | None = None
    cost_usd: float | None = None
    asks: list[Asked] = Field(default_factory=list)


def overview_of(info: SessionInfo, pending: list[Pending]) -> Overview:
    """Return what an agent needs to know of a session."""
    return Overview(
        session_id=info.id,
        status=info.status,
        waiting_for=info.waiting_for,
        title=info.title,
        model=info.model,
        turns=info.usage.turns,
        cost_usd=info.usage.cost_usd,
        asks=[_asked(each) for each in pending],
    )


def _asked(pending: Pending) -> Asked:
    return Asked.model_validate(pending.model_dump())


def _translated_errors[**P, R](call: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Turn errors of the client into errors of the tool, whose text the calling model reads."""

    @functools.wraps(call)
    async def tool(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await call(*args, **kwargs)
        except SessionEndedError as error:
            raise ToolError("the session has ended; its output can be read, start_session starts a new one") from error
        except JelmoreError as error:
            raise ToolError(str(error)) from error

    return tool


class Tools:
    """The tools, over one client."""

    def __init__(self, client: AsyncJelmore) -> None:
        self._client = client

    async def list_sessions(
        self,
        status: Annotated[str | None, Field(description="Only sessions with this status.")] = None,
        query: Annotated[str | None, Field(description="Words of titles, prompts and answers.")] = None,
        limit: Annotated[int, Field(ge=1, le=200, description="At most so many, newest first.")] = 50,
    ) -> list[Overview]:
        """List sessions, newest first. What they ask is in get_session."""
        found: list[Overview] = []
        async for info in self._client.sessions.list(status=status, q=query, limit=limit):
            found.append(overview_of(info, []))
            if len(found) == limit:
                break
        return found

    async def get_session(self, session_id: SessionId) -> Overview:
        """Get one session, with the permissions and questions that its agent waits for."""
        session = await self._client.sessions.get(session_id)
        return overview_of(session.info, [] if session.info.ended else await session.pending())

    async def start_session(
        self,
        prompt: Annotated[str, Field(min_length=1, description="What the agent should do.")],
        title: Annotated[
            str | None, Field(description="A short title for people; default: the prompt's first line.")
        ] = None,
        profile: Annotated[str | None, Field(description="A profile of the server.")] = None,
        model: Annotated[str | None, Field(description="The model; default: the server's.")] = None,
        wait_s: WaitS = 0,
    ) -> Turn:
        """Start a session in a fresh sandbox and send the first prompt."""
        given: dict[str, Any] = {"title": title or title_of(prompt), "profile": profile, "model": model}
        session = await self._client.sessions.create(**{name: value for name, value in given.items() if value})
        return await self._wait(session, await session.send(prompt), wait_s)

    async def send_prompt(
        self,
        session_id: SessionId,
        prompt: Annotated[str, Field(min_length=1, description="The next prompt; queued while a turn runs.")],
        wait_s: WaitS = 0,
    ) -> Turn:
        """Send the next prompt to a session."""
        session = await self._client.sessions.get(session_id)
        return await self._wait(session, await session.send(prompt), wait_s)

    async def wait_for_turn(
        self,
        session_id: SessionId,
        input_id: Annotated[str | None, Field(description="The turn's input_id; default: the newest turn.")] = None,
        wait_s: WaitS = 60,
    ) -> Turn:
        """Wait until a turn ends or waits for an answer; `running` when neither happens in time. May be repeated."""
        session = await self._client.sessions.get(session_id)
        return await self._wait(session, await _accepted(session, input_id), wait_s)

    async def answer_request(
        self,
        session_id: SessionId,
        request_id: str,
        decision: Literal["allow", "deny"],
        message: Annotated[str | None, Field(description="With deny: the reason, for the session's agent.")] = None,
        answers: Annotated[
            dict[str, str | list[str]] | None, Field(description="For a question: its text to the chosen label.")
        ] = None,
        always: Annotated[bool, Field(description="Allow the same kind for the whole session.")] = False,
    ) -> Overview:
        """Answer a permission or a question of a session."""
        session = await self._client.sessions.get(session_id)
        if decision == "allow":
            await _check_answers(session, request_id, answers)
        remember: Literal["session"] | None = "session" if always else None
        await session.answer(request_id, Answer(decision=decision, message=message, answers=answers, remember=remember))
        return overview_of(await session.refresh(), await session.pending())

    async def stop_session(
        self,
        session_id: SessionId,
        what: Annotated[Literal["turn", "session"], Field(description="The running turn, or all of it.")] = "turn",
    ) -> Overview:
        """Stop the running turn, or end the session. Its output and workspace are kept either way."""
        session = await self._client.sessions.get(session_id)
        if what == "session":
            return overview_of(await session.end(), [])
        await session.interrupt()
        return overview_of(await session.refresh(), [])

    async def _wait(self, session: AsyncSession, accepted: Accepted, wait_s: float) -> Turn:
        turn = Turn(session_id=session.id, input_id=accepted.input_id, state="running")
        if not wait_s:
            return turn
        try:
            result = await session.result(accepted, timeout_s=wait_s)
        except TimeoutError:
            return turn
        except NeedsAnswerError:
            waiting = [_asked(each) for each in await session.pending()]
            return turn.model_copy(update={"state": "waiting", "asks": waiting})
        return Turn(
            session_id=session.id,
            input_id=accepted.input_id,
            state="completed" if result.ok else "failed",
            text=result.text,
            reason=result.failure,
            cost_usd=result.cost_usd,
        )


async def _accepted(session: AsyncSession, input_id: str | None) -> Accepted:
    """Return the input with that id, or the newest. Raises ToolError.

    One that waits is newer than all turns, and is no message yet while its hibernated session is being resumed. An
    input is its first message: the note of an interrupt carries its id too, and comes after newer inputs.
    """
    waiting = [each for each in await session.queue() if input_id in {None, each.input_id}]
    if waiting:
        return waiting[-1]
    first: dict[str, int] = {}
    async for message in session.messages():
        if message.role == "user" and message.input_id and input_id in {None, message.input_id}:
            first.setdefault(message.input_id, message.seq)
            if input_id is not None:
                break
    if not first:
        raise ToolError(f"session {session.id} has no turn {input_id}" if input_id else "the session has no turn yet")
    newest = next(reversed(first))
    return Accepted(input_id=newest, seq=first[newest])


async def _check_answers(session: AsyncSession, request_id: str, answers: dict[str, str | list[str]] | None) -> None:
    """Raise ToolError unless all questions of a request are answered: the agent would read that nobody wanted to."""
    waiting = await session.pending()
    asked = [each for each in waiting if (each.request_id, each.waiting_for) == (request_id, "question")]
    questions = [str(part.get("question")) for each in asked for part in parts_of(each.input)]
    if questions and set(answers or {}) != set(questions):
        raise ToolError(f"this is a question: answers must have a choice for each of {questions}, or deny it")


def make_server(client: AsyncJelmore) -> MCPServer[Any]:
    """Return the MCP server whose tools use `client`."""
    server: MCPServer[Any] = MCPServer("jelmore", instructions=_INSTRUCTIONS, log_level="WARNING")
    tools = Tools(client)
    for read in (tools.list_sessions, tools.get_session, tools.wait_for_turn):
        server.tool(annotations=_READS)(_translated_errors(read))
    for change in (tools.start_session, tools.send_prompt, tools.answer_request, tools.stop_session):
        server.tool()(_translated_errors(change))
    return server


async def serve(url: str, api_key: str) -> None:
    """Serve on standard input and output until the input ends."""
    async with AsyncJelmore(url, api_key=api_key) as client:
        await make_server(client).run_stdio_async()
