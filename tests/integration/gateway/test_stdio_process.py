"""The process that runs stdio MCP servers, as a process: what of its memory is out of reach."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.waiting import until

pytestmark = pytest.mark.integration


async def test_the_credentials_that_pass_it_are_out_of_reach_of_its_own_user(tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": {"tickets": {"command": "cat"}}}))
    environment = {**os.environ, "JELMORE_RUN_DIR": str(tmp_path), "JELMORE_MCP_SERVERS_FILE": str(file)}
    started = await asyncio.create_subprocess_exec(sys.executable, "-m", "jelmore_gateway.stdio", env=environment)
    try:
        await until((tmp_path / "mcp" / "host.sock").is_socket, seconds=20)
        assert "Max core file size        0                    0" in Path(f"/proc/{started.pid}/limits").read_text()
        assert Path(f"/proc/{started.pid}/environ").stat().st_uid == 0
    finally:
        started.terminate()
        await started.wait()
