"""Adapters between the conversation and an agent. Each agent has its own package, the only one that uses its SDK."""
