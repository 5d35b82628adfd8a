"""A terminal in a container: who it runs as, what it cannot reach, and how people share it."""

import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import connect

from tests.e2e.test_isolation import check_environment_of_others
from tests.integration.runner.terminal_client import TerminalClient
from tests.support.stack import agent_uid_of
from tests.support.stack_client import Api

INSIDE: Final = Path(__file__).with_name("inside.py")


@asynccontextmanager
async def terminal(api: Api, url: str, credential: dict[str, str]) -> AsyncIterator[TerminalClient]:
    async with connect(url, additional_headers=credential, compression=None) as connection:
        yield TerminalClient(connection)


async def output(client: TerminalClient, command: str) -> str:
    """Run a command in the shell and return what it printed."""
    start = len(client.text)
    end = secrets.token_hex(4)  # what an earlier command printed may arrive only now
    await client.type(f"{command}; echo end''-{end}\n")
    await client.until(lambda text: f"end-{end}" in text[start:])
    return client.text[start:].partition(f"end-{end}")[0]


async def test_the_shell_is_as_locked_in_as_the_agent(quick_api: Api) -> None:
    created = await quick_api.create()
    probe = base64.b64encode(INSIDE.read_bytes()).decode()
    key = {"X-API-Key": quick_api.stack.api_key}
    async with terminal(quick_api, api_url(quick_api, created), key) as client:
        await client.open(command=f"echo {probe} | base64 -d | python3 -; ls -l /proc/self/fd >&2", pty=False)
        ended = await client.frame("exit")
    assert ended["code"] == 0, client.text
    found: dict[str, Any] = json.loads(bytes(client.streams["stdout"]))
    assert found["uids"] == [agent_uid_of(created["id"])] * 4
    assert set(found["capabilities"].values()) == {"0000000000000000"}
    assert found["no_new_privileges"] == "1"
    assert found["interfaces"] == ["lo"]
    assert found["others"] >= 1, "the runner must be there, as another user's process"
    check_environment_of_others(found)
    assert found["memory_of_others"] == found["signal_to_others"] == ["PermissionError"]
    assert set(found["sockets"].values()) <= {"PermissionError", "FileNotFoundError"}
    assert set(found["folders"].values()) == {"PermissionError"}
    assert {path for path, outcome in found["writes"].items() if outcome == "done"} == {"/session/workspace", "/tmp"}
    assert 0 not in {found["become_root"], found["mount"]}
    assert not any(name.startswith(("JELMORE_RUNNER", "ANTHROPIC")) for name in found["environment"])
    descriptors = [line.split() for line in bytes(client.streams["stderr"]).decode().splitlines() if " -> " in line]
    assert {words[-3] for words in descriptors if not words[-1].startswith("/proc/")} == {"0", "1", "2"}


async def test_two_people_share_a_shell_and_one_comes_back(quick_api: Api) -> None:
    created = await quick_api.create()
    key, token = {"X-API-Key": quick_api.stack.api_key}, {"Authorization": f"Bearer {created['token']}"}
    own_url = created["urls"]["ws"].removesuffix("/ws") + "/terminal"
    async with terminal(quick_api, own_url, token) as first:
        opened = await first.open(columns=97, rows=31)
        assert f"uid={agent_uid_of(created['id'])}(agent) gid=1000(agent)" in await output(first, "id")
        assert "31 97" in await output(first, "stty size")
        await first.send(type="resize", columns=120, rows=40)
        assert "40 120" in await output(first, "stty size")
        assert "/session/workspace" in await output(first, "pwd; test -w $(tty) && echo tty-is-mine")
        assert "tty-is-mine" in first.text
        async with terminal(quick_api, api_url(quick_api, created), key) as second:
            assert (await second.open())["writer"] is False
            await second.type("x")
            assert (await second.frame("error"))["code"] == "conflict"
            await second.send(type="take")
            assert "from-second" in await output(second, "echo from''-second")
        await first.until(lambda text: "from-second" in text)
        position = opened["position"] + len(first.output)
    async with terminal(quick_api, api_url(quick_api, created), key) as again:
        back = await again.open(instance=opened["instance"], after=position)
        assert (back["new"], back["gap"], back["position"]) == (False, False, position)
        assert "still-here" in await output(again, "echo still''-here")
        await again.type("exit 4\n")
        assert (await again.frame("exit"))["code"] == 4


async def test_a_terminal_ends_with_its_session(quick_api: Api) -> None:
    created = await quick_api.create()
    key = {"X-API-Key": quick_api.stack.api_key}
    async with terminal(quick_api, api_url(quick_api, created), key) as client:
        await client.open()
        await output(client, "true")
        await quick_api.delete(created["id"])
        assert await client.until_closed() in {1000, 1001}


def api_url(api: Api, created: dict[str, Any]) -> str:
    return f"{api.stack.url.replace('http', 'ws', 1)}/api/v1/sessions/{created['id']}/terminal"
