"""The demo model: a scripted, stateless Anthropic Messages API for demonstrations and tests.

The real Claude Code runs against it, so a whole session works with no credential and no internet. Lines of the
prompt that start with `demo> ` steer it; without any, it echoes. Imports neither the manager nor the runner.
"""
