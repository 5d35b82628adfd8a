"""The real Claude Code uses the bundled stdio MCP server, which runs outside of the sandboxes."""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.support.stack import ROOT, Stack, docker, run
from tests.support.stack_client import Api, Frame, eventually, tool_answers
from tests.support.stack_compose import Compose
from tests.support.stack_fixtures import running
from tests.support.stack_quickstart import QuickStart

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(900)]

NAME: Final = "sequential-thinking"
TOOL: Final = f"mcp__{NAME}__sequentialthinking"
THOUGHT: Final = {"thought": "one", "nextThoughtNeeded": False, "thoughtNumber": 1, "totalThoughts": 1}
COMMAND: Final = "mcp-server-sequential-thinking"


@pytest.fixture(scope="module", params=["quickstart", "compose"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with the bundled server."""
    request.getfixturevalue("runner_image")
    if request.param == "compose":
        yield from running(Compose(COMPOSE_PROFILES="demo,mcp"))
        return
    if shutil.which("npm") is None:
        pytest.skip("npm is not here")
    folder = tmp_path_factory.mktemp("servers")
    for parent in (folder, *folder.parents):  # the servers are other users
        if parent.is_relative_to("/tmp/pytest-of-root"):
            parent.chmod(0o755)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "mcp-servers" / name, folder)
    run(["npm", "ci", "--ignore-scripts"], cwd=folder, env=None, seconds=120)
    file = folder / "servers.json"
    server = {"command": str(folder / "node_modules" / ".bin" / COMMAND)}
    file.write_text(json.dumps({"mcpServers": {NAME: server}}))
    yield from running(QuickStart(JELMORE_MCP_SERVERS_FILE=str(file)))


@pytest_asyncio.fixture
async def api(served: Stack) -> AsyncIterator[Api]:
    calls = Api(served)
    yield calls
    await calls.close()


async def test_claude_code_lists_the_bundled_server_and_calls_its_tool(api: Api, served: Stack) -> None:
    async def known() -> bool:
        report: Frame = (await api.http.get("/health")).json()
        return bool(report["loops"]["gateway"]["mcp_servers"] == {"ok": 1, "failed": 0})

    await eventually(known, seconds=30, what=lambda: "the manager knows the server")
    session = await api.create(f"demo> tool {TOOL} {json.dumps(THOUGHT)}", allowed_tools=[TOOL])
    await api.until(session["id"], status="waiting_input", waiting_for="prompt")
    events = await api.all(session["id"], "output")
    messages: list[Frame] = [each["data"]["message"] for each in events if each["kind"] == "message"]
    said = next(each for each in messages if each.get("subtype") == "init")
    assert {"name": NAME, "status": "connected"} in [
        {key: each[key] for key in ("name", "status")} for each in said["mcp_servers"]
    ]
    assert TOOL in said["tools"]
    answer = json.loads(tool_answers(events)[-1])
    assert answer["thoughtNumber"] == 1
    assert not answer["nextThoughtNeeded"]

    running_as = users(served)
    assert running_as, "its process lives on with the session"
    assert not {0, 10_001, 10_002} & running_as, "neither root, nor the manager, nor the gateway"

    async def gone() -> bool:
        return not users(served)

    await api.delete(session["id"])
    await eventually(gone, seconds=15, what=lambda: "the process ends with its session")


def users(stack: Stack) -> set[int]:
    """Return the user ids of the bundled server's processes."""
    found = set()
    below = pids_of(stack)
    for pid in below:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        if COMMAND.encode() in command and b"jelmore" not in command.split(b"\0")[0]:
            found.add(int(status.partition("\nUid:")[2].split()[0]))
    return found


def pids_of(stack: Stack) -> list[int]:
    """Return the processes of the part that runs stdio servers, as this machine numbers them."""
    if isinstance(stack, Compose):
        container = stack.service("mcp-servers")["Id"]
        return [int(word) for word in docker("top", container, "-eo", "pid").split()[1:]]
    found = subprocess.run(["pgrep", "-f", COMMAND], capture_output=True, text=True, check=False).stdout
    return [int(word) for word in found.split()]
