"""An agent of the Agent Client Protocol over a Jelmore server: an editor talks to sessions as to a local agent.

The agent works in its sandbox, not on the editor's files: the editor's working directory and its MCP servers do not
reach the sandbox. Permissions are asked in the editor; the first answer, there or elsewhere, decides.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, cast

import acp
from acp import helpers
from acp.schema import (
    AgentCapabilities,
    AllowedOutcome,
    AuthenticateResponse,
    Implementation,
    InitializeResponse,
    ListSessionsResponse,
    LoadSessionResponse,
    NewSessionResponse,
    PermissionOption,
    PromptCapabilities,
    PromptResponse,
    SessionCapabilities,
    SessionInfo,
    SessionListCapabilities,
    SessionMode,
    SessionModeState,
    SetSessionModeResponse,
    ToolCallUpdate,
)

from jelmore_client import Accepted, Answer, AsyncJelmore, AsyncSession, ConflictError, Event, JelmoreError, Pending
from jelmore_client.bridges import acp_updates
from jelmore_client.core import turns
from jelmore_client.core.requests import title_of
from jelmore_client.errors import InvalidRequestError, NotFoundError, SessionEndedError, UnauthenticatedError
from jelmore_client.models import TurnResult

_LIST_LIMIT: Final = 100
_INTERNAL: Final = -32603
"""The code of JSON-RPC for an internal error; its text says what happened."""

_NOT_FOUND: Final = -32002
"""The protocol's code for a resource that does not exist."""

_MODES: Final = {
    "default": "Ask before changes",
    "acceptEdits": "Accept edits",
    "plan": "Plan only",
}
"""The permission modes that a running session may change to."""


@dataclass(slots=True)
class _Prompt:
    """A prompt of the editor that has no result yet."""

    cancelled: bool = False
    session: AsyncSession | None = None
    accepted: Accepted | None = None
    started: bool = False
    """Whether the agent has it. What it asks before that is of an earlier turn, and perhaps of somebody else."""

    stopping: bool = False


class _NotOfferedError(Exception):
    """The editor chose an option that it was not offered. Nothing is allowed by that."""

    def __init__(self, option_id: str) -> None:
        super().__init__(f"the editor chose {option_id!r}, which was not offered")


class JelmoreAgent:
    """Serves one editor. Sessions of the protocol are Jelmore's sessions, with the same ids."""

    def __init__(self, client: AsyncJelmore) -> None:
        self._client = client
        self._editor: acp.Client | None = None
        self._prompts: dict[str, _Prompt] = {}

    def on_connect(self, conn: acp.Client) -> None:
        """Take the connection to the editor."""
        self._editor = conn

    async def initialize(self, protocol_version: int, **_: Any) -> InitializeResponse:
        """Say what this agent can do."""
        return InitializeResponse(
            protocol_version=min(protocol_version, acp.PROTOCOL_VERSION),
            agent_info=Implementation(name="jelmore", title="Jelmore", version="0.1.0"),
            agent_capabilities=AgentCapabilities(
                load_session=True,
                prompt_capabilities=PromptCapabilities(image=True, embedded_context=True),
                session_capabilities=SessionCapabilities(list=SessionListCapabilities()),
            ),
        )

    async def authenticate(self, method_id: str, **_: Any) -> AuthenticateResponse | None:
        """Refuse: the key comes from the environment or from `jelmore login`."""
        raise acp.RequestError.invalid_params({"details": f"no such method: {method_id}; run 'jelmore login'"})

    async def new_session(self, cwd: str, mcp_servers: list[Any] | None = None, **_: Any) -> NewSessionResponse:
        """Create a session. The editor's folder is kept in its metadata."""
        if mcp_servers:
            _say(f"{len(mcp_servers)} MCP servers of the editor do not reach the sandbox; register them at the server")
        async with _translated_errors():
            session = await self._client.sessions.create(metadata={"editor_folder": cwd})
            return NewSessionResponse(session_id=session.id, modes=_modes(session))

    async def load_session(self, session_id: str, **_: Any) -> LoadSessionResponse | None:
        """Send the conversation so far; a session that has ended is started again."""
        async with _translated_errors():
            session = await self._client.sessions.get(session_id)
            newest = session.info.output_buffer_size
            if session.info.ended:
                await session.resume()
            async with aclosing(session.events(after=0)) as events:
                async for event in _until(events, newest):
                    await self._show(session_id, event, replay=True)
            return LoadSessionResponse(modes=_modes(session))

    async def list_sessions(self, cwd: str | None = None, **_: Any) -> ListSessionsResponse:
        """List the newest sessions; with `cwd`, those that were created from that folder."""
        async with _translated_errors():
            found: list[SessionInfo] = []
            async for each in self._client.sessions.list(limit=_LIST_LIMIT):
                folder = str(each.metadata.get("editor_folder") or "/session/workspace")
                if cwd in {None, folder}:
                    updated = each.last_activity.isoformat() if each.last_activity else None
                    found.append(SessionInfo(session_id=each.id, cwd=folder, title=each.title, updated_at=updated))
                if len(found) == _LIST_LIMIT:
                    break
            return ListSessionsResponse(sessions=found)

    async def set_session_mode(self, session_id: str, mode_id: str, **_: Any) -> SetSessionModeResponse | None:
        """Change the permission mode."""
        async with _translated_errors():
            session = await self._client.sessions.get(session_id)
            await session.change(permission_mode=mode_id)
            return SetSessionModeResponse()

    async def prompt(self, session_id: str, prompt: list[acp_updates.Content], **_: Any) -> PromptResponse:
        """Run a turn: send what happens as updates, ask the editor for permissions, return why it stopped."""
        if session_id in self._prompts:
            raise acp.RequestError.invalid_request({"details": "a prompt of this session is running"})
        self._prompts[session_id] = given = _Prompt()
        try:
            async with _translated_errors():
                given.session = await self._client.sessions.get(session_id)
                blocks = acp_updates.blocks_of_prompt(prompt)
                given.accepted = await self._send(given.session, blocks)
                await _name(given.session, blocks)
                if given.cancelled:  # before the prompt was accepted
                    await self._stop(given)
                result = await self._follow(given.session, given.accepted, given)
        finally:
            del self._prompts[session_id]
        reason = acp_updates.stop_reason(result, cancelled=given.cancelled)
        if reason is None:
            raise acp.RequestError(_INTERNAL, f"the turn failed: {result.failure}")
        return PromptResponse(stop_reason=reason)

    async def cancel(self, session_id: str, **_: Any) -> None:
        """Stop the editor's prompt, which ends as cancelled. Turns of other people's prompts continue."""
        given = self._prompts.get(session_id)
        if given is None:
            return
        given.cancelled = True
        async with _translated_errors():
            await self._stop(given)

    async def _stop(self, given: _Prompt) -> None:
        """Remove the prompt from the queue, or interrupt its turn when the agent has it. Does so once.

        Two interrupts could stop two turns: the next one begins as soon as the first has ended.
        """
        if given.session is None or given.accepted is None or given.stopping:
            return
        given.stopping = True
        try:
            try:
                await given.session.cancel_queued(given.accepted.input_id)
            except ConflictError:
                await given.session.interrupt()
        except JelmoreError:
            given.stopping = False  # the prompt continues, and can be cancelled again
            raise

    async def ext_method(self, method: str, params: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        """Refuse: there are no extensions."""
        raise acp.RequestError.method_not_found(method)

    async def ext_notification(self, method: str, params: dict[str, Any]) -> None:
        """Ignore it: there are no extensions."""

    async def _send(self, session: AsyncSession, blocks: list[dict[str, Any]]) -> Accepted:
        """Send a prompt. A session that has ended is started again, as the editor still has it open."""
        try:
            return await session.send(blocks)
        except SessionEndedError:
            await session.resume()
            return await session.send(blocks)

    async def _follow(self, session: AsyncSession, accepted: Accepted, given: _Prompt) -> TurnResult:
        """Return the turn's result. Permissions are asked in tasks of their own, so that another's answer is seen.

        What an earlier turn waits for is asked first: the editor may have been away, and this turn comes after that.
        """
        asking: dict[str, asyncio.Task[None]] = {}
        writing = acp_updates.Writing()

        def ask(pending: Pending) -> None:
            if pending.request_id not in asking:
                asked = self._ask(session, pending, given)
                asking[pending.request_id] = asyncio.create_task(asked, name="acp: permission")

        try:
            for each in await session.pending():
                ask(each)
            async with aclosing(session.events(after=accepted.seq, deltas=True)) as events:
                async for event in events:
                    given.started = given.started or turns.has_started(event, accepted.input_id)
                    await self._show(session.id, event, writing=writing)
                    request_id = str(event.data.get("request_id"))
                    if event.kind in {"permission_requested", "question"}:
                        ask(Pending.model_validate(event.data))
                    elif event.kind == "permission_resolved" and request_id in asking:
                        asking.pop(request_id).cancel()
                    elif (result := turns.result_of(event, accepted.input_id)) is not None:
                        return result
        finally:
            for task in asking.values():
                task.cancel()
            await asyncio.gather(*asking.values(), return_exceptions=True)
        return TurnResult(input_id=accepted.input_id, outcome="failed", subtype="the session ended")

    async def _ask(self, session: AsyncSession, pending: Pending, given: _Prompt) -> None:
        try:
            try:
                answer = await self._answer(session, pending)
            except _NotOfferedError as error:
                answer = Answer.deny(str(error))
            if answer is not None:
                await session.answer(pending.request_id, answer)
            elif given.started:  # the editor asks no more: the prompt was cancelled
                given.cancelled = True
                await self._stop(given)
        except ConflictError:
            return  # somebody else was first
        except (JelmoreError, acp.RequestError) as error:
            text = f"request {pending.request_id} ({pending.title}) is not answered: {error}"
            _say(text)
            await self._connected().session_update(session.id, helpers.update_agent_message_text(f"\n\n{text}\n\n"))

    async def _answer(self, session: AsyncSession, pending: Pending) -> Answer | None:
        """Return what the editor's user answers; None when the editor has cancelled the request."""
        parts = acp_updates.parts_of(pending)
        if not parts:
            chosen = await self._choose(session.id, pending, pending.title, acp_updates.PERMISSION_OPTIONS)
            return None if chosen is None else acp_updates.answer_of(chosen)
        answers: dict[str, str | list[str]] = {}
        for part in parts:
            options = acp_updates.options_of(part)
            if not options:
                raise acp.RequestError(
                    _INTERNAL, f"no options to choose from; 'jelmore attach {session.id}' answers it"
                )
            chosen = await self._choose(session.id, pending, str(part.get("question")), options)
            if chosen is None:
                return None
            answers[str(part.get("question"))] = options[int(chosen)].name
        return Answer.choose(answers)

    async def _choose(
        self,
        session_id: str,
        pending: Pending,
        title: str,
        options: tuple[PermissionOption, ...] | list[PermissionOption],
    ) -> str | None:
        """Return the id of the option that the editor's user chose; None when cancelled. Raises _NotOfferedError."""
        call = ToolCallUpdate(tool_call_id=pending.request_id, title=title, status="pending", raw_input=pending.input)
        response = await self._connected().request_permission(session_id, call, list(options))
        if not isinstance(response.outcome, AllowedOutcome):
            return None
        chosen = response.outcome.option_id
        if chosen not in {each.option_id for each in options}:
            raise _NotOfferedError(chosen)
        return chosen

    async def _show(
        self, session_id: str, event: Event, *, replay: bool = False, writing: acp_updates.Writing | None = None
    ) -> None:
        for update in acp_updates.updates_of(event, replay=replay, writing=writing):
            await self._connected().session_update(session_id, update)

    def _connected(self) -> acp.Client:
        if self._editor is None:
            raise acp.RequestError(_INTERNAL, "no editor is connected")
        return self._editor


async def _name(session: AsyncSession, blocks: list[dict[str, Any]]) -> None:
    """Give a session without a title the first words of its first prompt: people find it by them."""
    title = title_of("\n".join(str(each["text"]) for each in blocks if each.get("type") == "text"))
    if session.info.title is None and title is not None:
        with suppress(JelmoreError):
            await session.change(title=title)


def _modes(session: AsyncSession) -> SessionModeState:
    current = session.info.permission_mode
    known = _MODES if current in _MODES else {**_MODES, current: current}
    modes = [SessionMode(id=mode_id, name=name) for mode_id, name in known.items()]
    return SessionModeState(current_mode_id=current, available_modes=modes)


async def _until(events: AsyncIterator[Event], newest: int) -> AsyncIterator[Event]:
    """Yield the events up to `newest`."""
    if newest == 0:
        return
    async for event in events:
        yield event
        if event.seq >= newest:
            return


@asynccontextmanager
async def _translated_errors() -> AsyncIterator[None]:
    """Turn errors of the client, and of the prompt, into errors of the protocol that say why."""
    try:
        yield
    except UnauthenticatedError as error:
        raise acp.RequestError.auth_required({"details": f"{error}; run 'jelmore login'"}) from error
    except NotFoundError as error:
        raise acp.RequestError(_NOT_FOUND, str(error)) from error
    except (InvalidRequestError, ValueError) as error:
        raise acp.RequestError.invalid_params({"details": str(error)}) from error
    except JelmoreError as error:
        raise acp.RequestError(_INTERNAL, str(error)) from error


def _say(text: str) -> None:
    print(f"jelmore acp: {text}", file=sys.stderr)  # noqa: T201 - standard output is the protocol's


async def serve(url: str, api_key: str) -> bool:
    """Serve on standard input and output until the input ends. False: what came is not of the protocol."""
    async with AsyncJelmore(url, api_key=api_key) as client:
        try:
            await acp.run_agent(cast("acp.Agent", JelmoreAgent(client)))
        except (AttributeError, TypeError, KeyError) as error:  # of the SDK, for JSON that is no object
            _say(f"the other side sent what is no message of the protocol ({error}); start it from an editor")
            return False
    return True
