"""The configuration of MCP servers: in a file of the agent's home, never on a command line."""

import json
import stat
from pathlib import Path

from jelmore_runner.agents.claude.mcp_config import write_mcp_config


def test_the_servers_are_in_a_file_that_only_the_agent_reads(tmp_path: Path) -> None:
    servers = {"docs": {"type": "http", "url": "http://127.0.0.1:1/mcp/docs", "headers": {"X-Key": "s3cret"}}}
    path = write_mcp_config(tmp_path, servers)
    assert path is not None
    assert json.loads(path.read_text()) == {"mcpServers": servers}
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_start_leaves_no_file_of_an_earlier_one(tmp_path: Path) -> None:
    first = write_mcp_config(tmp_path, {"a": {}})
    second = write_mcp_config(tmp_path, {"a": {}})
    assert [first != second, list(tmp_path.iterdir())] == [True, [second]]
    assert write_mcp_config(tmp_path, {}) is None
    assert list(tmp_path.iterdir()) == []


def test_a_link_of_the_agents_is_not_followed(tmp_path: Path) -> None:
    home, journal = tmp_path / "home", tmp_path / "journal"
    home.mkdir()
    journal.write_text("kept")
    (home / ".jelmore-mcp-x.json").symlink_to(journal)
    write_mcp_config(home, {"a": {}})
    assert journal.read_text() == "kept"
