"""Claude Code as the agent: the only place that imports `claude_agent_sdk`."""

from jelmore_runner.agents.base import AgentContext, AgentRun
from jelmore_runner.agents.claude.lifecycle import Lifecycle
from jelmore_runner.agents.claude.sdk_import import import_sdk


def create(context: AgentContext) -> AgentRun:
    """Return a run of Claude Code."""
    return Lifecycle(context)


def preload() -> None:
    """Import the SDK, which takes a fraction of a second."""
    import_sdk()
