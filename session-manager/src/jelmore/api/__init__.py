"""WHO asks: HTTP, server-sent events and WebSockets over the control plane.

Nothing here decides what happens to a session; it checks what comes in, calls `jelmore.control` and shows the answer.
Only this package knows HTTP statuses.
"""
