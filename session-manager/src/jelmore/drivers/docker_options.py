"""How the containers of an engine are confined: what the settings ask for, as far as the engine can do it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import structlog

from jelmore.drivers.docker_config import APPARMOR_PROFILE, CPU_SHARES, OPEN_FILES, SECCOMP_FILE, ContainerOptions
from jelmore.drivers.docker_engine import DockerEngine, EngineError, engine_failure
from jelmore.session.agent_uids import AGENT_UIDS
from jelmore.session.errors import RefusedError

DEFAULT_RUNTIME: Final = "runc"
_log = structlog.get_logger(__name__)

_MAX_RUNTIMES: Final = 64

REMAPPED: Final = (
    "containers of this engine have at most the users that were given to it, as a rule 65,536: agents get ids of "
    "these, 20000 to 59999, where it does not have those of JELMORE_AGENT_UIDS"
)
_PROFILES: Final = Path("/sys/kernel/security/apparmor/profiles")


@dataclass(frozen=True, slots=True)
class WantedOptions:
    """What the settings say. `apparmor` auto: where this process sees that the profile is loaded."""

    own_seccomp: bool = True
    apparmor: Literal["auto", "required", "off"] = "auto"
    runtime: str = DEFAULT_RUNTIME
    open_files: int = OPEN_FILES
    cpu_shares: int = CPU_SHARES
    agent_uids: range | None = AGENT_UIDS
    runtime_of: str = "JELMORE_OCI_RUNTIME"  # who asks for the runtime, for messages

    def in_profile(self, runtime: str) -> "WantedOptions":
        """Return the options for a profile that names this runtime, or none."""
        named = f"the runtime of the session's profile ({runtime})"
        return replace(self, runtime=runtime, runtime_of=named) if runtime else self

    def needs_info(self, *, loaded: bool) -> bool:
        """Return whether the engine has to be asked what it can do."""
        return self.runtime != DEFAULT_RUNTIME or self.apparmor == "required" or (self.apparmor == "auto" and loaded)


def options_for(wanted: WantedOptions, info: Mapping[str, Any], *, loaded: bool) -> ContainerOptions:
    """Return the options for an engine that describes itself as `info`. Pure.

    `loaded` says whether the AppArmor profile is seen to be loaded on this machine. For `runc` the engine's default
    runtime is used, whatever its name: Podman's is `crun`. Raises RefusedError that names the setting.
    """
    other = wanted.runtime != DEFAULT_RUNTIME
    runtimes = sorted(info.get("Runtimes") or {})
    if other and wanted.runtime not in runtimes:
        raise RefusedError(
            "docker",
            f"{wanted.runtime_of}: the engine has no runtime {wanted.runtime!r}, only "
            f"{', '.join(runtimes) or 'its own'}; install it and name it under `runtimes` in the engine's daemon.json",
        )
    # As `name=apparmor` or, in podman's answer, a plain word.
    has_apparmor = any("apparmor" in str(each) for each in info.get("SecurityOptions") or ())
    if wanted.apparmor == "required" and not has_apparmor:
        raise RefusedError("docker", "JELMORE_APPARMOR is required, and the engine's host has no AppArmor")
    return ContainerOptions(
        own_seccomp=wanted.own_seccomp,
        apparmor=has_apparmor and (wanted.apparmor == "required" or (wanted.apparmor == "auto" and loaded)),
        runtime=wanted.runtime if other else None,
        gvisor=other and _is_gvisor(wanted.runtime, info["Runtimes"][wanted.runtime]),
        open_files=wanted.open_files,
        cpu_shares=wanted.cpu_shares,
        agent_uids=wanted.agent_uids,
    )


def remaps_users(info: Mapping[str, Any]) -> str | None:
    """Return why containers of this engine have users of their own: `rootless` or `userns`; None if they have not."""
    options = " ".join(str(each) for each in info.get("SecurityOptions") or ())
    return next((name for name in ("rootless", "userns") if name in options), None)


def _is_gvisor(name: str, described: Any) -> bool:
    """Return whether a runtime is gVisor's, by its name or by the program or shim that the engine starts for it."""
    known = described if isinstance(described, Mapping) else {}
    program, shim = str(known.get("path") or ""), str(known.get("runtimeType") or "")
    return name.startswith("runsc") or Path(program).name.startswith("runsc") or ".runsc." in shim


def is_loaded(profiles: str) -> bool:
    """Return whether the kernel's list has our profile. Pure; one line per profile, as `name (enforce)`."""
    return any(line.split(" (")[0] == APPARMOR_PROFILE for line in profiles.splitlines())


class EngineOptions:
    """The options for one engine, asked once and again by each `look`."""

    def __init__(self, engine: DockerEngine, wanted: WantedOptions, *, local: bool) -> None:
        self._engine = engine
        self._wanted = wanted
        self._local = local
        self._known: dict[str, ContainerOptions] = {}  # by the runtime of a profile

    async def known(self, runtime: str = "") -> ContainerOptions:
        """Return the options of the last look for this runtime of a profile. Raises what `look` raises."""
        return self._known.get(runtime) or await self.look(runtime)

    async def look(self, runtime: str = "") -> ContainerOptions:
        """Ask the engine, if that matters, and return the options. Raises RefusedError, DependencyError.

        `runtime` is that of a profile, empty for the deployment's.
        """
        wanted = self._wanted.in_profile(runtime)
        if not self._known and wanted.own_seccomp:
            await self._engine.call("GET", "version")  # which engine it is
        loaded = self._local and _loaded_here()
        info: dict[str, Any] = {}
        if wanted.needs_info(loaded=loaded) or not self._known:
            try:
                info = await self._engine.call("GET", "info")
            except EngineError as error:
                raise engine_failure(error, "ask the engine what it can do") from None
        if not self._known and wanted.agent_uids is not None and (why := remaps_users(info)):
            _log.warning("agent_uids_of_engine", engine=why, said=REMAPPED)
        options = options_for(wanted, info, loaded=loaded)
        if self._engine.is_podman and wanted.own_seccomp:
            # In a container, this file is not one of the engine's machine: then Podman says so at the first start.
            options = replace(options, seccomp_file=SECCOMP_FILE)
        if runtime not in self._known and len(self._known) >= _MAX_RUNTIMES:
            self._known.clear()  # a profiles file that changed often
        self._known[runtime] = options
        return options


def _loaded_here() -> bool:
    """Return whether the profile is loaded on this machine. False where that cannot be seen, as in a container."""
    try:
        return is_loaded(_PROFILES.read_text("utf-8", "replace"))
    except OSError:
        return False
