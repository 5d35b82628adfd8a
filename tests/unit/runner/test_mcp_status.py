"""What is shown of Claude Code's report of its MCP servers."""

from jelmore_runner.agents.claude.mcp_status import MAX_CHARACTERS, servers


def test_the_configuration_is_left_out() -> None:
    report = {
        "name": "docs",
        "status": "connected",
        "serverInfo": {"name": "Docs", "version": "2"},
        "config": {"type": "http", "url": "http://x", "headers": {"Authorization": "s3cret"}},
        "tools": [{"name": "search", "description": "d"}, "odd", {"name": 5}],
    }
    (server,) = servers({"mcpServers": [report, {"status": "x"}, "odd"]})
    assert (server.name, server.status, server.version, server.tools) == ("docs", "connected", "Docs 2", ["search"])
    assert "s3cret" not in server.model_dump_json()


def test_a_report_that_is_strange_or_long_is_cut() -> None:
    assert servers({}) == servers({"mcpServers": "none"}) == []
    (server,) = servers({"mcpServers": [{"name": "n" * 9999, "status": None, "error": "e" * 9999, "tools": 1}]})
    assert (len(server.name), server.status, len(server.error or "")) == (MAX_CHARACTERS, "unknown", MAX_CHARACTERS)
