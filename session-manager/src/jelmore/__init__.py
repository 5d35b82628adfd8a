"""Jelmore's control plane. Read `session/` first (what a session is), then `ports/` (everything ports)."""

__version__ = "0.1.0"
