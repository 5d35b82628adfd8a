"""The settings of the proxy, from the variables that the manager reads too. Nothing else here reads the environment."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from jelmore_engine_proxy.policy import Policy

DEFAULT_LISTEN: Final = Path("/run/jelmore-engine/docker.sock")
RUNTIMES: Final = ("runc", "runsc")


class SettingsError(Exception):
    """A setting is not valid. The message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen, where the engine is (`unix:///path` or `tcp://host:port`), and what may be asked of it."""

    listen: Path
    engine: str
    certificates: Path | None
    policy: Policy
    profiles: Path | None = None  # the file of the profiles, whose images are allowed too

    def tls(self) -> ssl.SSLContext | None:
        """Return the TLS settings for the engine, None without TLS. Raises SettingsError."""
        if self.certificates is None:
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.certificates / "ca.pem"))
            context.load_cert_chain(self.certificates / "cert.pem", self.certificates / "key.pem")
        except OSError as error:
            raise SettingsError(f"DOCKER_CERT_PATH: {self.certificates}: {error.strerror or error}") from None
        return context


def read_settings(environment: Mapping[str, str], listen: Path) -> Settings:
    """Return the settings. An empty variable counts as unset. Raises SettingsError naming the first bad one."""
    given = {name: value for name, value in environment.items() if value}
    engine = given.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not engine.startswith(("unix:///", "tcp://")):
        raise SettingsError(f"DOCKER_HOST: {engine} is neither unix:///PATH nor tcp://HOST:PORT")
    verify = given.get("DOCKER_TLS_VERIFY", "0").lower() not in {"0", "false", "no"}
    if verify and "DOCKER_CERT_PATH" not in given:
        raise SettingsError("DOCKER_CERT_PATH: is needed with DOCKER_TLS_VERIFY")
    runtime = given.get("JELMORE_OCI_RUNTIME", "runc")
    if runtime not in RUNTIMES:
        raise SettingsError(f"JELMORE_OCI_RUNTIME: {runtime} is not one of {', '.join(RUNTIMES)}")
    policy = Policy(
        instance=given.get("JELMORE_INSTANCE", "default"),
        run_dir=Path(given.get("JELMORE_RUN_DIR", "/run/jelmore")).absolute(),
        images=frozenset({given.get("JELMORE_RUNNER_IMAGE", "jelmore/runner:latest")}),
        seccomp=own_seccomp(),
        require_seccomp=given.get("JELMORE_SECCOMP", "jelmore") == "jelmore",
        require_apparmor=given.get("JELMORE_APPARMOR", "auto") == "required",
        runtimes=frozenset({runtime}),
        skills=_path(given, "JELMORE_SKILLS_DIR"),
        profile_skills=_path(given, "JELMORE_PROFILE_SKILLS_DIR"),
    )
    certificates = Path(given["DOCKER_CERT_PATH"]) if verify else None
    return Settings(listen, engine, certificates, policy, _path(given, "JELMORE_PROFILES"))


def _path(given: Mapping[str, str], name: str) -> Path | None:
    return Path(given[name]).expanduser().absolute() if name in given else None


def own_seccomp() -> str:
    """Return the security option with Jelmore's list of system calls, in the form that the manager sends."""
    text = resources.files("jelmore.drivers").joinpath("seccomp.json").read_text(encoding="utf-8")
    return f"seccomp={json.dumps(json.loads(text), separators=(',', ':'))}"
