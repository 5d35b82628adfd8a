"""Whether a runner may drain: nothing may be stopped by a pause that a person waits for. Pure."""

from jelmore_protocol.control import Phase
from jelmore_protocol.events import WaitingFor
from jelmore_protocol.frames import ErrorCode
from jelmore_runner.errors import RefusedError
from jelmore_runner.orphans import Orphan
from jelmore_runner.state import Turn


def check_may_drain(turn: Turn | None, phase: Phase, working: list[Orphan], *, terminals: int, ports: int) -> None:
    """Return when there is no work; `terminals` and `ports` are how many are in use. Raises RefusedError naming it."""
    if turn is not None and turn.view.waiting_for not in {WaitingFor.PROMPT, WaitingFor.BUDGET}:
        raise RefusedError(ErrorCode.CONFLICT, "the agent is working, or an answer is awaited")
    if turn is not None and turn.background:
        raise RefusedError(ErrorCode.CONFLICT, "a task of the agent runs in the background")
    if terminals:
        raise RefusedError(ErrorCode.CONFLICT, "somebody types into a terminal")
    if ports:
        raise RefusedError(ErrorCode.CONFLICT, "somebody uses a port of the session")
    if phase is Phase.STARTING:
        raise RefusedError(ErrorCode.CONFLICT, "the session is starting")
    if working:
        raise RefusedError(ErrorCode.CONFLICT, f"a process left by a tool is working: {working[0].command}")
