"""Claude Code as the agent: the only place that imports `claude_agent_sdk`."""

import importlib

from jelmore_runner.agents.base import AgentRun, Surroundings
from jelmore_runner.agents.claude.lifecycle import Lifecycle


def create(surroundings: Surroundings) -> AgentRun:
    """Return a run of Claude Code."""
    return Lifecycle(surroundings)


def preload() -> None:
    """Import the SDK, which takes most of a second."""
    importlib.import_module("claude_agent_sdk")
