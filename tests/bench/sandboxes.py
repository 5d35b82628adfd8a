"""Bare containers: the same image with the same options as a session's, but without Jelmore."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from uuid_utils.compat import uuid7

from jelmore.drivers.docker_config import container_config, volume_name
from jelmore.drivers.paths import new_key
from jelmore.ports import SandboxSpec
from jelmore.session.limits import Limits
from tests.bench.world import World
from tests.support.engine_relay import RUNNER_IMAGE

IMAGE: Final = RUNNER_IMAGE
_WAIT_S: Final = 60

# As the image's own entry point does it, with another program in the runner's place.
_AS_RUNNER: Final = (
    "umask 002; export HOME=/session/state; exec setpriv --reuid 10001 --regid 10001 --init-groups"
    " --inh-caps=+setuid,+setgid,+kill,+setpcap --ambient-caps=+setuid,+setgid,+kill,+setpcap --"
    ' tini -- /opt/jelmore/venv/bin/python -P -B -u -c "$PROGRAM"'
)

_START_CLAUDE: Final = """
import time
began = time.time()
import asyncio, json
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient
imported = time.time()

async def main():
    client = ClaudeSDKClient(ClaudeAgentOptions(
        cli_path="/opt/jelmore/bin/claude", cwd="/session/workspace", setting_sources=[],
        system_prompt={"type": "preset", "preset": "claude_code"}, include_partial_messages=True,
        env={"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_AUTH_TOKEN": "none", "HOME": "/session/home",
             "CLAUDE_CONFIG_DIR": "/session/home/.claude", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
             "DISABLE_AUTOUPDATER": "1"},
    ))
    await client.connect()
    print(json.dumps({"began": began, "imported": imported, "connected": time.time()}), flush=True)
    await client.disconnect()

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class ClaudeStart:
    """One start of Claude Code in a bare sandbox, in seconds."""

    box_s: float
    own_s: float  # from the started container to a connected Claude Code
    import_s: float
    connect_s: float


async def start_bare(world: World) -> float:
    """Create and start a container that does nothing; return the seconds until the engine said so."""
    async with _box(world, ["sleep", "infinity"], {}) as (_, seconds):
        return seconds


async def restart_bare(world: World) -> float:
    """Start such a container a second time; return the seconds until the engine said so."""
    async with _box(world, ["sleep", "infinity"], {}) as (name, _):
        await world.engine.call("POST", f"containers/{name}/kill", within_s=_WAIT_S)
        await world.engine.call("POST", f"containers/{name}/wait", within_s=_WAIT_S)
        began = time.perf_counter()
        await world.engine.call("POST", f"containers/{name}/start", within_s=_WAIT_S)
        return time.perf_counter() - began


async def start_claude(world: World) -> ClaudeStart:
    """Create and start a container in which nothing but Claude Code starts, through its SDK."""
    async with _box(world, ["sh", "-c", _AS_RUNNER], {"PROGRAM": _START_CLAUDE}) as (name, box_s):
        started = time.time()
        ended = await world.engine.call("POST", f"containers/{name}/wait", within_s=_WAIT_S)
        raw = await world.engine.read(
            f"containers/{name}/logs", params={"stdout": True, "stderr": True}, most_bytes=1 << 20, within_s=_WAIT_S
        )
        if ended["StatusCode"] != 0:
            raise RuntimeError(f"Claude Code did not start in a bare container: {raw[-2000:]!r}")
        said = json.loads(raw[raw.index(b'{"began"') : raw.rindex(b"}") + 1])
    return ClaudeStart(
        box_s, said["connected"] - started, said["imported"] - said["began"], said["connected"] - said["imported"]
    )


@asynccontextmanager
async def _box(world: World, program: list[str], variables: dict[str, str]) -> AsyncIterator[tuple[str, float]]:
    session_id: UUID = uuid7()
    name = f"jelmore-bench-{session_id}"
    key = new_key()
    world.paths.make_folder(key)
    spec = SandboxSpec(session_id, 1, Limits())
    config: dict[str, Any] = container_config(
        spec, IMAGE, f"{world.stack.instance}-bare", world.paths.folder(key), gateway=world.paths.gateway
    )
    config |= {"Entrypoint": program, "Env": [f"{key}={value}" for key, value in variables.items()]}
    try:
        began = time.perf_counter()
        await world.engine.call("POST", "containers/create", params={"name": name}, body=config, within_s=_WAIT_S)
        await world.engine.call("POST", f"containers/{name}/start", within_s=_WAIT_S)
        yield name, time.perf_counter() - began
    finally:
        await world.engine.call("DELETE", f"containers/{name}", params={"force": True}, within_s=_WAIT_S)
        await world.engine.call("DELETE", f"volumes/{volume_name(session_id)}", within_s=_WAIT_S)
        world.paths.clear_folder(key)
