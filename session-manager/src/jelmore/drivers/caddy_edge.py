"""`Edge` on Caddy: the configuration is loaded once; a session is published by one rename in a folder.

A change of Caddy's configuration per session takes milliseconds that grow with the number of sessions, and concurrent
changes removed the wrong routes (docs/decisions). A link leads to a unix socket. For a session whose sandbox listens on
TCP it leads to a listener of Caddy itself, which forwards to the address in a file.
"""

import asyncio
import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiohttp

from jelmore.drivers.caddy_config import EdgeOptions, caddy_config
from jelmore.drivers.paths import RunPaths, tcp_target, unix_path
from jelmore.drivers.sandbox_sockets import check_target
from jelmore.ports import Address
from jelmore.session.errors import DependencyError, RefusedError
from jelmore.session.world import Route

CALL_S: Final = 5.0
LOAD_S: Final = 30.0
TRIES: Final = 5
LEFT_S: Final = 60.0
"""A link under a temporary name that is older than this is left over from a crash."""


class CaddyEdge:
    """One Caddy, reached by its admin socket, and the folder of routes. Several managers may use it at once."""

    def __init__(self, options: EdgeOptions, *, admin_socket: Path | None = None) -> None:
        """`admin_socket` is the socket of Caddy's admin API; unset, `caddy/admin.sock` of the run directory."""
        self._options = options
        self._paths = options.paths
        self._admin_socket = admin_socket or options.paths.admin_socket

    async def check(self) -> None:
        """Return when Caddy answers. Raises DependencyError."""
        await self._admin("GET", "/config/admin")

    async def program(self) -> bool:
        """Load the configuration into Caddy unless it is already loaded; return whether it had to change.

        May run twice. Raises DependencyError when Caddy does not answer, RefusedError with Caddy's message when it
        rejects the configuration.
        """
        self._paths.prepare()
        _clear_left(self._paths)
        for _ in range(TRIES):
            _, running, tag = await self._admin("GET", "/config/")
            # The admin block stays as it is: changing it would close the admin API that this call uses.
            admin = {"admin": running["admin"]} if running and "admin" in running else {}
            wanted = {**admin, **caddy_config(self._options)}
            if running == wanted:
                return False
            try:
                status, answer, _ = await self._admin("POST", "/config/", body=wanted, tag=tag)
            except DependencyError:
                continue  # Caddy drops connections while it reloads; the next read shows the result
            if status == 200:  # noqa: PLR2004
                return True
            if status != 412:  # noqa: PLR2004 - 412: another manager was faster; read again
                said = answer.get("error") if isinstance(answer, dict) else answer
                raise RefusedError("caddy", f"refused its configuration: {said}")
        raise DependencyError("caddy", "its configuration keeps changing under us")

    async def publish(self, session_id: UUID, to: Address | None, *, route: Route) -> None:
        """Route the session's URL to `to`, or with `Route.MANAGER` to any running manager. May run twice.

        Raises RefusedError for a malformed address, DependencyError when the path of a unix address is not a socket.
        """
        address, path = None, self._paths.any_manager
        if route is not Route.MANAGER:
            address, path = self._target(to)
        try:
            if address is not None:
                _write(self._paths.address(session_id), address)  # first: the link makes it count
            _link(self._paths.route(session_id), path)
            if address is None:
                self._paths.address(session_id).unlink(missing_ok=True)
        except OSError as error:
            raise DependencyError("caddy", f"cannot publish below {self._paths.routes}: {error.strerror}") from None

    async def withdraw(self, session_id: UUID) -> None:
        """Remove the session's route. Absent is success. Open connections stay open until the runner closes them."""
        try:
            self._paths.route(session_id).unlink(missing_ok=True)
            self._paths.address(session_id).unlink(missing_ok=True)
        except OSError as error:
            raise DependencyError("caddy", f"cannot withdraw below {self._paths.routes}: {error.strerror}") from None

    async def route(self, session_id: UUID) -> Route:
        """Return where the session's URL leads now."""
        try:
            target = self._paths.route(session_id).readlink()
        except OSError:
            return Route.ABSENT
        return Route.MANAGER if target == self._paths.any_manager else Route.RUNNER

    async def routes(self) -> Sequence[UUID]:
        """Return every session that has a route."""
        return _published(self._paths.routes)

    async def close(self) -> None:
        """Do nothing: no connection is kept between calls."""

    def _target(self, to: Address | None) -> tuple[str | None, Path]:
        """Return the TCP address to note, if any, and the socket that the link leads to."""
        path = None if to is None else unix_path(to)
        if path is not None:
            check_target(path)
            return None, path
        address = None if to is None else tcp_target(to)
        if address is None:
            where = "nowhere" if to is None else repr(to.text)
            raise RefusedError("caddy", f"cannot lead a session's URL to {where}: not unix:/path or tcp:host:port")
        return address, self._paths.by_address

    async def _admin(
        self, method: str, path: str, *, body: dict[str, Any] | None = None, tag: str | None = None
    ) -> tuple[int, Any, str | None]:
        """Return status, JSON and ETag of one call. Each call opens a connection: Caddy drops them on a reload."""
        headers = {} if tag is None else {"If-Match": tag}
        connector = aiohttp.UnixConnector(str(self._admin_socket), force_close=True)
        try:
            async with asyncio.timeout(CALL_S if body is None else LOAD_S):
                async with (
                    aiohttp.ClientSession(connector=connector) as session,
                    session.request(method, f"http://localhost{path}", json=body, headers=headers) as answer,
                ):
                    text = await answer.text()
                    return answer.status, json.loads(text) if text.strip() else None, answer.headers.get("Etag")
        except TimeoutError:
            raise DependencyError("caddy", f"no answer within {CALL_S:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise DependencyError("caddy", str(error) or type(error).__name__) from None


def _link(link: Path, target: Path) -> None:
    """Create or replace the link atomically: a concurrent dial uses either the old target or the new one."""
    with _replacing(link) as temporary:
        temporary.symlink_to(target)


def _write(file: Path, text: str) -> None:
    """Create or replace the file atomically."""
    with _replacing(file) as temporary:
        temporary.write_text(text, encoding="ascii")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield temporary
        os.rename(temporary, path)  # noqa: PTH104 - the name of the call is the point
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _published(folder: Path) -> list[UUID]:
    found = []
    for name in os.listdir(folder) if folder.is_dir() else []:  # noqa: PTH208 - names only
        try:
            found.append(UUID(name))
        except ValueError:
            continue
    return found


def _clear_left(paths: RunPaths) -> None:
    """Remove what a crash left behind: files and links under temporary names, and addresses without a link."""
    routes = set(_published(paths.routes))
    unused = [paths.address(session_id) for session_id in _published(paths.addresses) if session_id not in routes]
    for entry in (*paths.routes.glob(".*"), *paths.addresses.glob(".*"), *unused):
        try:
            if time.time() - entry.lstat().st_mtime > LEFT_S:
                entry.unlink(missing_ok=True)
        except FileNotFoundError:
            continue
