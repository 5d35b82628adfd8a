"""What a runner in a real container measures: another user's private files, and its own control group."""

from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jelmore.drivers.docker_config import OPEN_FILES, container_name
from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import SandboxSpec
from jelmore.session.errors import DependencyError
from jelmore.session.limits import MEBIBYTE, Limits
from jelmore_protocol import PROTOCOL
from jelmore_protocol.control import AgentOptions, Health, Init, WorkspaceLimit
from tests.integration.sandboxes.conftest import MakeSandboxes
from tests.support.stack import as_agent
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.docker]

LIMITS = Limits(memory_bytes=512 * MEBIBYTE, cpus=1.0, pids=200)
FILL = "umask 077 && mkdir -p /session/home/private && dd if=/dev/zero of=/session/home/private/file bs=1M count=20"


async def test_private_files_memory_and_processes_are_seen(make: MakeSandboxes) -> None:
    sandboxes, runners, spec = make(), RunnerLink(), SandboxSpec(uuid4(), 1, LIMITS)
    await sandboxes.start(spec)
    sandbox = await sandboxes.observe(spec.session_id)
    assert sandbox is not None
    assert sandbox.control is not None
    at = sandbox.control

    async def health() -> Health | None:
        try:
            return await runners.health(at)
        except DependencyError:
            return None

    async def answers() -> bool:
        return await health() is not None

    await until(answers)
    pem = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    name = container_name(spec.session_id, spec.generation)
    as_agent(name, "sh", "-c", FILL)
    assert as_agent(name, "sh", "-c", "ulimit -Sn; ulimit -Hn").split() == [str(OPEN_FILES)] * 2
    init = Init(
        protocol=PROTOCOL,
        session_id=str(spec.session_id),
        generation=1,
        options=AgentOptions(),
        token_public_key=pem.decode(),
        gateway_token="none",
        workspace_limit_bytes=64 * MEBIBYTE,
    )
    await runners.init(at, init)

    async def measured() -> bool:
        seen = await health()
        return seen is not None and seen.workspace_bytes is not None

    await until(measured)
    seen = await runners.health(at)
    assert seen.workspace_bytes is not None
    assert 20 * MEBIBYTE <= seen.workspace_bytes < 40 * MEBIBYTE
    assert seen.workspace_limit_bytes == 64 * MEBIBYTE
    assert seen.memory_limit_bytes == LIMITS.memory_bytes
    assert seen.memory_bytes is not None
    assert 0 < seen.memory_bytes < LIMITS.memory_bytes
    assert seen.pids_limit == LIMITS.pids
    assert seen.pids is not None
    assert 0 < seen.pids < LIMITS.pids
    await runners.limit_workspace(at, WorkspaceLimit(bytes=32 * MEBIBYTE))
    assert (await runners.health(at)).workspace_limit_bytes == 32 * MEBIBYTE
    await runners.close()
