"""The API: HTTP, server-sent events and WebSockets on top of the control plane.

It authenticates callers, validates requests, calls `jelmore.control` and formats the response. It makes no decisions
about sessions. No other package knows HTTP statuses.
"""
