"""Adapters between the session and an agent. Each agent has a package of its own; only that package knows its SDK."""
