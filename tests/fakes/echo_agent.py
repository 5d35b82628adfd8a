"""A second agent: it answers each prompt with the prompt. It shows all that an adapter has to do."""

import asyncio
from collections.abc import Awaitable, Callable

from jelmore_protocol.control import Command, InputRequest, McpServer, Stop
from jelmore_protocol.frames import ErrorCode
from jelmore_runner.agents.base import AgentContext, AgentRun, Exited
from jelmore_runner.errors import RefusedError
from jelmore_runner.neutral_facts import Said
from jelmore_runner.turn_result import TurnResult


class EchoAgent:
    """Has no process of its own."""

    def __init__(self, context: AgentContext) -> None:
        self._session = context.session
        self._on_ready = context.on_ready
        self._prompts: asyncio.Queue[tuple[InputRequest, int] | None] = asyncio.Queue(100)
        self._reason = ""

    @property
    def live(self) -> "EchoAgent":
        return self

    @property
    def pid(self) -> int | None:
        return None

    def prompt(self, request: InputRequest, mark: int) -> None:
        self._prompts.put_nowait((request, mark))

    async def interrupt(self) -> None:
        """Every turn has ended before anybody could interrupt it."""

    async def set_model(self, model: str) -> None:
        """There is no model."""

    async def set_permission_mode(self, mode: str) -> None:
        self._session.permission_mode_is(mode)

    async def set_effort(self, effort: str) -> None:
        """It makes none."""

    async def commands(self) -> list[Command]:
        return [Command(name="echo", description="says it again")]

    async def mcp_servers(self) -> list[McpServer]:
        return []

    async def reconnect_mcp(self, name: str) -> None:
        raise RefusedError(ErrorCode.CONFLICT, f"there is no MCP server {name}")

    async def toggle_mcp(self, name: str, *, enabled: bool) -> None:
        raise RefusedError(ErrorCode.CONFLICT, f"there is no MCP server {name}")

    async def rewind(self, input_id: str, between: Callable[[], Awaitable[None]]) -> None:
        """It remembers nothing."""
        await between()

    async def run(self) -> Exited:
        self._on_ready()
        self._session.agent_started(self)
        while (given := await self._prompts.get()) is not None:
            request, mark = given
            await self._session.journal.durable(mark)
            self._session.turn_began(names_running=True)
            content = [{"type": "text", "text": request.input}]
            message = {"type": "assistant", "message": {"role": "assistant", "content": content}}
            self._session.said(message, Said(request.input))
            result = TurnResult(failed=False, subtype="success", text=request.input, process_cost_usd=0.0)
            self._session.turn_result({"type": "result", "subtype": "success", "result": request.input}, result)
        data = {"exit_code": 0, "reason": self._reason, "requested": True, "stderr": []}
        return Exited("stopped", data, None, 0)

    def stop(self, stop: Stop) -> None:
        self._reason = stop.reason
        self._session.agent_stopping()
        self._prompts.put_nowait(None)


def create(context: AgentContext) -> AgentRun:
    return EchoAgent(context)
