"""The runner: supervises one agent in a sandbox, journals its output and serves any number of clients.

It knows nothing about Docker, the manager's database or other sessions. `jelmore_protocol` defines its messages.
"""
