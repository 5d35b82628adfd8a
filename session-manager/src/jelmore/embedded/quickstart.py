"""The quick start: everything on one machine, in the foreground, until Ctrl-C. `make run` calls `run`."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Final

from dotenv import dotenv_values

from jelmore.control.access import new_key
from jelmore.drivers.migrations import migrate
from jelmore.drivers.paths import RunPaths
from jelmore.embedded.authorities import AuthoritiesError, with_authorities
from jelmore.embedded.caddy import Caddy
from jelmore.embedded.children import DemoModel, GatewayProcess, ManagerProcess, McpServersProcess
from jelmore.embedded.leaving import release_sessions, stop_own_engine
from jelmore.embedded.nats import Nats
from jelmore.embedded.postgres import Postgres
from jelmore.embedded.service import Service, ServiceError
from jelmore.embedded.valkey import Valkey
from jelmore.quick_start import ADDRESS_FILE, places
from jelmore.session.errors import JelmoreError
from jelmore.settings import Settings

DEFAULT_LISTEN: Final = "127.0.0.1:8080"
_LAST_PORT: Final = 65535
_POLL_S: Final = 0.05
_OTHER_PORT: Final = "Choose another: JELMORE_HTTP_LISTEN=127.0.0.1:8081 make run"


class QuickStartError(Exception):
    """The quick start cannot continue. The message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions of the quick start, made before it starts anything."""

    data_dir: Path
    run_dir: Path
    listen: str
    url: str
    api_key: str
    demo: bool
    local: bool
    environment: Mapping[str, str]


_EVERYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
"""Where this machine reaches a server that listens on all addresses: a browser does not open those names."""


def plan(settings: Settings, environment: Mapping[str, str]) -> Plan:
    """Return the folders, addresses and the manager's environment. Raises QuickStartError. Writes nothing."""
    chosen = settings.model_fields_set
    data_dir = settings.data_dir
    run_dir, instance = places(settings)
    listen = settings.http_listen if "http_listen" in chosen else DEFAULT_LISTEN
    host, _, port = listen.rpartition(":")
    url = settings.public_url if "public_url" in chosen else f"http://{_EVERYWHERE.get(host, host)}:{port}"
    kept = dotenv_values(data_dir / "env").get("JELMORE_API_KEY") if (data_dir / "env").exists() else None
    api_key = settings.api_key.get_secret_value() if settings.api_key else kept or new_key()
    credentials = (settings.anthropic_api_key, settings.anthropic_auth_token, settings.claude_code_oauth_token)
    demo = not any(credentials) and "anthropic_base_url" not in chosen
    ours = {
        "JELMORE_DATA_DIR": str(data_dir),
        "JELMORE_RUN_DIR": str(run_dir),
        "JELMORE_HTTP_LISTEN": listen,
        "JELMORE_PUBLIC_URL": url,
        "JELMORE_API_KEY": api_key,
        "JELMORE_INSTANCE": instance,
        "JELMORE_MANAGER_SLOT": "0",  # fixed: this process waits for that socket, even if other managers run here
    }
    if demo:
        ours["ANTHROPIC_BASE_URL"] = f"unix:{run_dir / 'demo' / 'model.sock'}"
    return Plan(data_dir, run_dir, listen, url, api_key, demo, settings.runtime == "local", {**environment, **ours})


async def run(settings: Settings) -> int:
    """Start everything, print the addresses, wait for Ctrl-C, stop everything; return the exit status."""
    asked = _signals()
    try:
        # The manager runs in another folder, so it gets the settings of `.env` through its environment.
        dotenv = {name: value for name, value in dotenv_values(".env").items() if value}
        plans = plan(settings, {**dotenv, **os.environ})
        _check_port(plans.listen)
        plans = replace(plans, environment=with_authorities(plans.environment, plans.data_dir))
    except (QuickStartError, AuthoritiesError) as error:
        _say(f"jelmore-server: {error}")
        return 2
    services = Services(plans)
    status = 0
    try:
        starting = asyncio.create_task(services.start(), name="quickstart")
        ended = asyncio.create_task(asked.wait(), name="quickstart-signals")
        await asyncio.wait({starting, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        await asyncio.wait([starting])  # `await starting` could hide a cancellation of this call
        if not starting.cancelled():
            starting.result()
        if not asked.is_set():
            _welcome(plans)
            await ended
        ended.cancel()
    except (ServiceError, QuickStartError, JelmoreError, OSError) as error:
        _say(f"jelmore-server: {error}")
        status = 1
    finally:
        await services.stop()
    if status and services.engine_stopped:
        _say(
            "Docker, which was started for this, is stopped too. What needs it: scripts/docker-engine starts it again."
        )
    return status


class Services:
    """The services of the quick start, started and stopped in the order of their dependencies."""

    def __init__(self, plans: Plan) -> None:
        self.plans = plans
        self.engine_stopped = False
        """Whether `stop` stopped a Docker daemon that the setup had started."""
        sockets = plans.run_dir / "servers"
        self.paths = RunPaths(plans.run_dir)
        self.postgres = Postgres(plans.data_dir / "postgres", sockets)
        self.valkey = Valkey(plans.data_dir / "valkey", sockets)
        self.nats = Nats(plans.data_dir / "nats", sockets)
        self.caddy = Caddy(plans.data_dir / "caddy", self.paths.admin_socket.parent)
        self.demo = DemoModel(plans.data_dir / "demo", plans.run_dir / "demo")
        self.gateway = GatewayProcess(plans.data_dir / "gateway", self.paths, plans.environment)
        self.mcp = McpServersProcess(plans.data_dir / "mcp", self.paths, plans.environment)
        self.manager = ManagerProcess(plans.data_dir / "manager", self.paths, plans.environment)
        self._started: list[Service] = []
        self._served = False

    async def start(self) -> None:
        """Start everything; return when the public address answers. Raises ServiceError, QuickStartError."""
        self.plans.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.paths.prepare()
        await _step("PostgreSQL, Valkey, NATS and Caddy", self._start_servers())
        await _step("database schema", migrate(self.postgres.url))
        if self.plans.demo:
            await _step("demo model (no model credential is set: a scripted stand-in answers)", self._start(self.demo))
        await _step("gateway", self._start(self.gateway))
        if self.plans.environment.get("JELMORE_MCP_SERVERS_FILE"):
            await _step("stdio MCP servers", self._start(self.mcp))
        self.manager.set_environment(
            {"DATABASE_URL": self.postgres.url, "REDIS_URL": self.valkey.url, "NATS_URL": self.nats.url}
        )
        await _step("manager", self._start(self.manager))
        self._served = True
        await _step("public address", reachable(self.plans.listen))
        _write_private(self.plans.data_dir / ADDRESS_FILE, self.postgres.url + "\n")
        _write_private(
            self.plans.data_dir / "env",
            f"export JELMORE_URL={quote(self.plans.url)}\nexport JELMORE_API_KEY={quote(self.plans.api_key)}\n",
        )

    async def stop(self) -> None:
        """Stop what was started: the manager, then its sessions, then the rest. All data stays."""
        if not self._started:
            return
        _say("")
        if self.manager in self._started:
            await _step("stopping the manager", self.manager.stop())
        if self._served:  # not if the manager refused to start: the sessions may belong to another database
            environment = {**self.plans.environment, **self.manager.addresses_environment}
            await _step("putting the sessions to rest", release_sessions(environment))
        rest = [service for service in self._started if service is not self.manager]
        await _step("stopping the servers", _all(service.stop() for service in rest))
        self.engine_stopped = await stop_own_engine(self.plans.data_dir)
        _clear_run_dir(self.plans.run_dir)
        _say(f"  stopped; data stays in {_shown(self.plans.data_dir)}")

    async def _start_servers(self) -> None:
        servers = (self.postgres, self.valkey, self.nats, self.caddy)
        await _all(self._start(service) for service in servers)

    async def _start(self, service: Service) -> None:
        self._started.append(service)
        await service.start()


async def _all(acts: object) -> None:
    async with asyncio.TaskGroup() as group:
        for act in acts:  # type: ignore[attr-defined]
            group.create_task(act, name="quickstart: server")


async def _step(what: str, act: Awaitable[object]) -> None:
    began = time.monotonic()
    sys.stdout.write(f"  {what} … ")
    sys.stdout.flush()
    try:
        await act
    except BaseException as error:
        _say("" if isinstance(error, asyncio.CancelledError) else "failed")
        if isinstance(error, BaseExceptionGroup):
            raise error.exceptions[0] from None
        raise
    _say(f"{time.monotonic() - began:.1f} s")


_NO_ISOLATION: Final = """
  WARNING: JELMORE_RUNTIME=local. Sessions run as plain processes of this user, with no isolation at all:
  whatever a session does, it does to this machine. Use it to try things, never with work you do not trust."""


def _welcome(plans: Plan) -> None:
    if plans.local:
        _say(_NO_ISOLATION)
    env = _shown(plans.data_dir / "env")
    # Whatever is not a terminal keeps what is printed: the journal of a service manager, a file, a container's log.
    key = f"{plans.api_key}   (also in {env})" if sys.stdout.isatty() else f"in {env}, which only you can read"
    _say(
        f"""
  URL       {plans.url}   (the dashboard; sign in with the key){_elsewhere(plans.listen)}
  API key   {key}
  docs      {plans.url}/api/v1/docs

Next, in another terminal, in this directory:

  .venv/bin/jelmore run "demo> run echo hello from $(hostname)"

or, with nothing but HTTP:

  . {env}
  curl -s $JELMORE_URL/api/v1/sessions -H "X-API-Key: $JELMORE_API_KEY" \\
    -H 'Content-Type: application/json' -d '{{"query": "demo> run echo hello from $(hostname)"}}'

Ctrl-C stops everything; data stays in {_shown(plans.data_dir)}."""
    )


def _elsewhere(listen: str) -> str:
    """Return the line with the address for other devices of the network, if the server listens for them."""
    host, _, port = listen.rpartition(":")
    if host not in _EVERYWHERE or host == "[::]":
        return ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses the address of this machine
        except OSError:
            return ""
        address = probe.getsockname()[0]
    return f"\n            http://{address}:{port}   (from other devices of this network, without TLS)"


def _signals() -> asyncio.Event:
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    return asked


def _check_port(listen: str) -> None:
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or not 0 < int(port) <= _LAST_PORT:
        raise QuickStartError(f"JELMORE_HTTP_LISTEN: {listen!r} is not HOST:PORT")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]") or "0.0.0.0", int(port)))
        except OSError as error:
            raise QuickStartError(
                f"JELMORE_HTTP_LISTEN: cannot listen on {listen}: {error.strerror}. "
                f"Is another Jelmore running? {_OTHER_PORT}"
            ) from None


async def reachable(listen: str, *, within_s: float = 30.0) -> None:
    """Return when the edge accepts connections at `listen` (HOST:PORT). Raises QuickStartError after `within_s`.

    The manager serves on its own socket before Caddy listens here. Another process can also have taken the port since
    it was checked: the kernel gives ports of its ephemeral range to outgoing connections. May run twice.
    """
    host, _, port = listen.rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))
    try:
        async with asyncio.timeout(within_s):
            while not await _accepts(host, int(port)):
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise QuickStartError(
            f"JELMORE_HTTP_LISTEN: nothing accepts connections on {listen} after {within_s:g} s. Another process may "
            f"have taken the port; caddy/caddy.log in the data folder says why. {_OTHER_PORT}"
        ) from None


async def _accepts(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def _write_private(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    part.rename(path)


def _clear_run_dir(run_dir: Path) -> None:
    """Remove left-over sockets, routes and folders: no container is bound to them now. May run twice."""
    for path in sorted(run_dir.rglob("*"), reverse=True):
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()


def _shown(path: Path) -> str:
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
