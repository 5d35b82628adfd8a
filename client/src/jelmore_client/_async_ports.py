"""The ports of a session, asynchronously. `_sync_ports.py` is generated from this file."""

from typing import TYPE_CHECKING

from jelmore_client.core.requests import Request
from jelmore_client.models import Port, PortLink

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore
    from jelmore_client._async_port import AsyncPortConnection


class AsyncSessionPorts:
    """The calls of a session on the TCP ports of its sandbox."""

    _client: "AsyncJelmore"

    def _path(self, *parts: str) -> str:
        raise NotImplementedError

    async def ports(self) -> list[Port]:
        """Return the TCP ports that listen in the session's sandbox, by number; none while it is not awake."""
        return await self._client.fetch_all(Request("GET", self._path("ports")), Port, "ports")

    def port(self, port: int) -> "AsyncPortConnection":
        """Return a TCP connection to a port of the session, to be used as a context manager; it resumes the session.

        Needs the package `websockets`.
        """
        return self._client.open_port(self._path("ports", str(port)))

    async def port_link(self, port: int, *, expires_in_s: int = 3600) -> PortLink:
        """Return a link with which a browser sees a port of the session. Whoever has it may use the port."""
        path, body = self._path("ports", str(port), "links"), {"expires_in_s": expires_in_s}
        return PortLink.read(await self._client.request(Request("POST", path, json=body, repeatable=True)))
