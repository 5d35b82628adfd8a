"""Jelmore's control plane. Read `session/` first (what a session is), then `ports/` (everything outside)."""

__version__ = "0.1.0"
