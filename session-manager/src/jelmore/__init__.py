"""Jelmore's control plane. Read `session/` first (what a session is), then `ports/` (the interfaces to everything)."""

__version__ = "0.1.0"
