"""Runs stdio MCP servers for sessions and offers them to the gateway over HTTP: `python -m jelmore_gateway.stdio`.

A process of its own, with a user of its own where the deployment gives it one: the servers that it starts read what an
agent sends them, so they must not share a user with the gateway's keys. It knows no vault and no model credential; the
gateway sends the credentials of one server with the call that starts it.
"""
