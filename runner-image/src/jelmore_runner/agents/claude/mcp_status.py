"""Reads Claude Code's report of its MCP servers. Leaves out their configuration, which may hold secrets. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from jelmore_protocol.control import McpServer

MAX_SERVERS: Final = 200
MAX_TOOLS: Final = 500
MAX_CHARACTERS: Final = 500


def servers(status: Mapping[str, Any]) -> list[McpServer]:
    """Return the servers of a report. What is not as it should be is left out."""
    listed = status.get("mcpServers")
    found = [_server(each) for each in listed[:MAX_SERVERS]] if isinstance(listed, list) else []
    return [server for server in found if server is not None]


def _server(report: Any) -> McpServer | None:
    if not isinstance(report, dict) or not isinstance(report.get("name"), str):
        return None
    tools, info, error = report.get("tools"), report.get("serverInfo"), report.get("error")
    names = (
        [each.get("name") for each in tools[:MAX_TOOLS] if isinstance(each, dict)] if isinstance(tools, list) else []
    )
    named = f"{info.get('name', '')} {info.get('version', '')}".strip() if isinstance(info, dict) else ""
    return McpServer(
        name=report["name"][:MAX_CHARACTERS],
        status=str(report.get("status") or "unknown")[:MAX_CHARACTERS],
        error=error[:MAX_CHARACTERS] if isinstance(error, str) else None,
        version=named[:MAX_CHARACTERS] or None,
        tools=[name[:MAX_CHARACTERS] for name in names if isinstance(name, str)],
    )
