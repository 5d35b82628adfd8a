"""The gateway as a process: killed, hung and started again while managers and sandboxes use it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from jelmore.drivers.gateway_link import GatewayLink
from jelmore.session.errors import DependencyError, RefusedError
from jelmore_protocol.gateway import MODEL_SOCKET, GatewayConfig, Registration, sandbox_key
from tests.integration.gateway.world import SESSION, ModelApi, serving

pytestmark = pytest.mark.integration

KEY = sandbox_key(SESSION, 1)


@asynccontextmanager
async def process(folder: Path, **more: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    environment = {
        "JELMORE_RUN_DIR": str(folder),
        "JELMORE_GATEWAY_STATE_DIR": str(folder / "state"),
        "ANTHROPIC_API_KEY": "real-key",
        "ANTHROPIC_BASE_URL": f"unix:{folder}/api.sock",
        "PATH": os.environ["PATH"],
        **more,
    }
    with (folder / "log").open("ab") as log:
        started = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [sys.executable, "-m", "jelmore_gateway"], env=environment, stdout=log, stderr=log
        )
    try:
        link = GatewayLink(folder / "gateway" / "control.sock")
        async with asyncio.timeout(20):
            while started.poll() is None:
                try:
                    await link.check()
                    break
                except DependencyError:
                    await asyncio.sleep(0.05)
        yield started
    finally:
        started.kill()
        started.wait(10)


async def call(socket: Path) -> int:
    connector = aiohttp.UnixConnector(str(socket))
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.post("http://gateway/v1/messages", data=b"{}") as response,
    ):
        await response.read()
        return response.status


async def test_a_killed_gateway_comes_back_with_its_registrations_and_its_usage(folder: Path) -> None:
    link, socket = GatewayLink(folder / "gateway" / "control.sock"), folder / "gateway" / KEY / MODEL_SOCKET
    async with serving(ModelApi().app(), folder / "api.sock"):
        async with process(folder):
            await link.register(KEY, Registration(session_id=SESSION, generation=1))
            await link.configure(GatewayConfig(digest="d1"))
            assert await call(socket) == 200
            before = await link.health()
        with pytest.raises(DependencyError):
            await link.health()
        async with process(folder):
            assert await call(socket) == 200  # no manager has called since
            health = await link.health()
            assert (health.gateway, health.config) == (before.gateway, "d1")
            assert health.started_at > before.started_at
            assert [entry.key for entry in await link.registered()] == [KEY]
            page = await link.calls(0)
            assert [record.seq for record in page.calls] == [1, 2]
            assert page.gateway == before.gateway
            assert (await link.calls(1)).calls == page.calls[1:]
            await link.revoke([KEY, sandbox_key(SESSION, 9)])
            assert await call(socket) == 403
            for _ in range(2):
                await link.withdraw(KEY)
            assert await link.registered() == []


async def test_a_gateway_that_hangs_does_not_hold_its_callers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jelmore.drivers.gateway_link.CALL_S", 0.3)
    async with process(folder) as started:
        started.send_signal(signal.SIGSTOP)
        with pytest.raises(DependencyError, match="gateway"):
            await GatewayLink(folder / "gateway" / "control.sock").register(
                KEY, Registration(session_id=SESSION, generation=1)
            )
        started.send_signal(signal.SIGCONT)


async def test_what_is_not_a_registration_is_refused_by_name(folder: Path) -> None:
    async with process(folder):
        link = GatewayLink(folder / "gateway" / "control.sock")
        with pytest.raises(RefusedError, match="404"):
            await link.register("../other", Registration(session_id=SESSION, generation=1))
        bad = Registration.model_construct(session_id=SESSION, generation=0)
        with pytest.raises(RefusedError, match="generation"):
            await link.register(KEY, bad)


async def test_a_second_gateway_on_the_same_state_does_not_start(folder: Path) -> None:
    async with process(folder), process(folder) as second:
        assert second.wait(20) == 2
    assert "JELMORE_GATEWAY_STATE_DIR: another gateway uses" in (folder / "log").read_text()


async def test_a_bad_setting_is_named_in_one_line(folder: Path) -> None:
    async with process(folder, ANTHROPIC_BASE_URL="ftp://x") as started:
        assert started.wait(20) == 2
    assert (folder / "log").read_text().splitlines() == [
        "jelmore-gateway: ANTHROPIC_BASE_URL: 'ftp://x' is neither an http(s) address nor unix:/path"
    ]


async def test_the_credential_is_out_of_reach_of_its_own_user(folder: Path) -> None:
    async with process(folder) as started:
        # Memory and environment belong to root from now on, and the kernel writes no core dump.
        assert Path(f"/proc/{started.pid}/environ").stat().st_uid == 0
        limits = Path(f"/proc/{started.pid}/limits").read_text()
        assert "Max core file size        0                    0" in limits
