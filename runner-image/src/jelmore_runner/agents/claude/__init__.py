"""Claude Code as the agent: the only place that imports `claude_agent_sdk`."""

from jelmore_runner.agents.base import AgentContext, AgentRun, AgentsAhead
from jelmore_runner.agents.claude.ahead import Ahead
from jelmore_runner.agents.claude.lifecycle import Lifecycle
from jelmore_runner.agents.claude.sdk_import import import_sdk
from jelmore_runner.settings import Settings
from jelmore_runner.supervisor import Supervisor


def create(context: AgentContext) -> AgentRun:
    """Return a run of Claude Code."""
    return Lifecycle(context, context.ahead if isinstance(context.ahead, Ahead) else None)


def ahead(settings: Settings, supervisor: Supervisor) -> AgentsAhead:
    """Return what starts Claude Code ahead of its session."""
    return Ahead(settings, supervisor)


def preload() -> None:
    """Import the SDK, which takes a fraction of a second."""
    import_sdk()
