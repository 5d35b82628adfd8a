"""The operator's file of stdio servers: what is wrong is named by its field."""

import asyncio
import functools
import json
from pathlib import Path
from typing import Any

import pytest

from jelmore_gateway.settings import SettingsError
from jelmore_gateway.stdio.__main__ import read_settings
from jelmore_gateway.stdio.config import ConfigError, read_config
from jelmore_gateway.stdio.users import Users, range_exists


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "servers.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_file_in_the_form_of_mcp_clients_is_read(tmp_path: Path) -> None:
    server = {"command": "uvx", "args": ["a"], "env": {"A": "b"}, "credentials": {"KEY": "docs"}}
    config = read_config(written(tmp_path, {"mcpServers": {"docs": server}}))
    assert config.mcpServers["docs"].args == ["a"]
    shown = config.mcpServers["docs"].shown("docs")
    assert (shown.name, shown.credentials) == ("mcp/docs", {"KEY": "docs"})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ({}, "mcpServers"),
        ({"mcpServers": {"docs": {}}}, "mcpServers.docs.command"),
        ({"mcpServers": {"../x": {"command": "a"}}}, "mcpServers.../x"),
        ({"mcpServers": {"docs": {"command": "a", "url": "b"}}}, "mcpServers.docs.url"),
        ({"mcpServers": {"docs": {"command": "a", "env": {"A B": "c"}}}}, "mcpServers.docs.env.A B"),
        ({"mcpServers": {"docs": {"command": "a", "credentials": {"A": "../b"}}}}, "mcpServers.docs.credentials.A"),
        ({"mcpServers": {"docs": {"command": "a", "memory_bytes": 1}}}, "mcpServers.docs.memory_bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_field(tmp_path: Path, content: Any, says: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ConfigError, match=says.replace(".", r"\.")):
        read_config(path)
    with pytest.raises(SettingsError, match="JELMORE_MCP_SERVERS_FILE"):
        read_settings({"JELMORE_MCP_SERVERS_FILE": str(path)})


def test_settings_are_checked(tmp_path: Path) -> None:
    path = str(written(tmp_path, {"mcpServers": {}}))
    with pytest.raises(SettingsError, match="JELMORE_MCP_SERVERS_FILE"):
        read_settings({})
    with pytest.raises(SettingsError, match="JELMORE_MCP_SERVERS_MAX"):
        read_settings({"JELMORE_MCP_SERVERS_FILE": path, "JELMORE_MCP_SERVERS_MAX": "many"})
    settings = read_settings({"JELMORE_MCP_SERVERS_FILE": path, "JELMORE_RUN_DIR": str(tmp_path)})
    assert settings.socket == tmp_path / "mcp" / "host.sock"


@pytest.mark.parametrize("text", ["nobody", "0", "99999999999"])
def test_a_user_id_that_cannot_be_used_is_refused(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jelmore_gateway.stdio.__main__.may_choose", lambda: True)
    path = str(written(tmp_path, {"mcpServers": {}}))
    with pytest.raises(SettingsError, match="JELMORE_MCP_SERVERS_UID"):
        read_settings({"JELMORE_MCP_SERVERS_FILE": path, "JELMORE_MCP_SERVERS_UID": text})


def test_the_user_ids_must_exist_in_the_user_namespace(tmp_path: Path) -> None:
    uid_map = tmp_path / "uid_map"
    uid_map.write_text("         0     100000      65536\n")
    assert range_exists(20_000, uid_map)
    assert not range_exists(66_000, uid_map)


async def test_a_user_id_is_used_again_after_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jelmore_gateway.stdio.users.NUMBER", 3)
    monkeypatch.setattr("jelmore_gateway.stdio.users._KILL_ALL", ("/bin/false",))
    monkeypatch.setattr(
        "asyncio.create_subprocess_exec", functools.partial(_without_user, asyncio.create_subprocess_exec)
    )
    users = Users(5000)
    assert [users.take(), users.take()] == [5000, 5001]
    await users.clear(5000)
    assert [users.take(), users.take()] == [5002, 5000]
    with pytest.raises(RuntimeError):
        users.take()


async def _without_user(start: Any, *command: str, **_: Any) -> Any:
    return await start(*command)


async def test_a_user_whose_processes_cannot_be_ended_stays_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jelmore_gateway.stdio.users.NUMBER", 1)
    monkeypatch.setattr("jelmore_gateway.stdio.users._KILL_ALL", ("/nowhere/kill",))
    users = Users(5000)
    await users.clear(users.take())
    with pytest.raises(RuntimeError):
        users.take()
