"""The proxy of the engine's socket, in the test's own process."""

from pathlib import Path

from jelmore.drivers.docker_engine import EngineAddress
from jelmore_engine_proxy.policy import Policy
from jelmore_engine_proxy.proxy import EngineProxy
from jelmore_engine_proxy.settings import Settings, own_seccomp
from tests.support.engine_relay import ENGINE_SOCKET


async def started_proxy(
    folder: Path, run_dir: Path, instance: str, image: str, engine: str = f"unix://{ENGINE_SOCKET}"
) -> tuple[EngineProxy, EngineAddress]:
    """Return a proxy that listens in `folder`, and its address. The caller closes it.

    The file of the profiles is `profiles.toml` there, and their skills are in `profile-skills`.
    """
    policy = Policy(instance, run_dir, frozenset({image}), own_seccomp(), profile_skills=folder / "profile-skills")
    listen = folder / "engine.sock"
    proxy = EngineProxy(Settings(listen, engine, None, policy, folder / "profiles.toml"))
    await proxy.open()
    return proxy, EngineAddress(f"unix://{listen}")
