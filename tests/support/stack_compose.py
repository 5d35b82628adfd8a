"""The deployment as a stack: `make up` under a project, an instance, a run directory and ports of its own."""

import secrets
import shutil
import subprocess
from typing import Any, ClassVar, Final

from tests.support.stack import ROOT, Stack, clean_environment, docker, docker_lines, free_port, inspect, run

_NAMES: Final = {"manager": "session-manager", "model": "demo-model"}
_BUILD_S: Final = 900.0


class Compose(Stack):
    """`scripts/up` with the demo profile. The images are built from the sources as they are now."""

    kind: ClassVar[str] = "compose"

    def __init__(self, **settings: str) -> None:
        super().__init__()
        self.project = f"jelmore-e2e-{self.mark}"
        self._settings = settings
        self.password = f"p{secrets.token_hex(12)}"

    def environment(self) -> dict[str, str]:
        """Return the environment of every call of Compose."""
        ours = {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_PROFILES": "demo",
            "JELMORE_INSTANCE": self.instance,
            "JELMORE_RUN_DIR": str(self.run_dir),
            "JELMORE_HTTP_PORT": str(self.port),
            "JELMORE_HTTPS_PORT": str(free_port()),
            "JELMORE_PUBLIC_URL": self.url,
            "JELMORE_API_KEY": self.api_key,
            "ANTHROPIC_API_KEY": self.credential,
            **dict.fromkeys(("POSTGRES_PASSWORD", "REDIS_PASSWORD", "NATS_PASSWORD"), self.password),
            "ANTHROPIC_BASE_URL": "http://demo-model:8900",
        }
        return clean_environment(**{**ours, **self._settings})

    def start(self) -> None:
        """Return when every service is healthy."""
        try:
            run(["scripts/up"], cwd=ROOT, env=self.environment(), seconds=_BUILD_S)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"{error}\n{self.logs()[-6000:]}") from None

    def stop(self) -> None:
        """Take the services down, and end the session containers that a deployment leaves running."""
        run(["scripts/down"], cwd=ROOT, env=self.environment(), seconds=120)
        for container in self.containers():
            docker("rm", "--force", container)

    def discard(self) -> None:
        """Remove the volumes of the services too."""
        labels = f"label=com.docker.compose.project={self.project}"
        for volume in docker_lines("volume", "ls", "--quiet", "--filter", labels):
            docker("volume", "rm", "--force", volume)
        super().discard()
        shutil.rmtree(self.folder, ignore_errors=True)

    def remains(self) -> list[str]:
        """Return containers and networks that outlived `down`."""
        label = f"label=com.docker.compose.project={self.project}"
        # Images carry the label of the project that built them, and so do containers of other installations made of
        # them; only Compose's own containers have the digest of their configuration beside it.
        own = ("--filter", label, "--filter", "label=com.docker.compose.config-hash")
        containers = docker_lines("ps", "--all", "--quiet", *own) + self.containers()
        networks = docker_lines("network", "ls", "--quiet", "--filter", label)
        return [f"container {found}" for found in containers] + [f"network {found}" for found in networks]

    def service(self, name: str) -> dict[str, Any]:
        """Return the engine's view of a service's container."""
        labels = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={_NAMES.get(name, name)}"]
        labels.append("com.docker.compose.config-hash")
        found = docker_lines(
            "ps", "--all", "--quiet", *(word for label in labels for word in ("--filter", f"label={label}"))
        )
        assert len(found) == 1, f"{name} has the containers {found}"
        return inspect(found[0])

    def pid(self, service: str) -> int | None:
        """Return the container's first process, as the host numbers it."""
        return int(self.service(service)["State"]["Pid"]) or None

    def database_url(self) -> str:
        """Return the address on the deployment's own network: nothing of it is published."""
        return f"postgresql://jelmore:{self.password}@{self._address('postgres')}:5432/jelmore"

    def redis_url(self) -> str:
        """Return the address on the deployment's own network."""
        return f"redis://:{self.password}@{self._address('redis')}:6379/0"

    def nats_url(self) -> str:
        """Return the address on the deployment's own network."""
        return f"nats://jelmore:{self.password}@{self._address('nats')}:4222"

    def logs(self) -> str:
        """Return what every service printed."""
        command = ["docker", "compose", "--profile", "*", "logs", "--no-color", "--timestamps"]
        return run(command, cwd=ROOT, env=self.environment(), seconds=60)

    def knows_credential(self, service: str) -> bool:
        """Return whether the environment of a service's container holds it."""
        return f"ANTHROPIC_API_KEY={self.credential}" in self.service(service)["Config"]["Env"]

    def _address(self, service: str) -> str:
        networks = self.service(service)["NetworkSettings"]["Networks"]
        return str(next(network["IPAddress"] for name, network in networks.items() if name.endswith("_stores")))
