"""The names of ports: `{port}--{session}.HOST` is the origin of one port of one session. Pure."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from jelmore.api.hosts import host_name
from jelmore_protocol.sandbox_ports import MAX_PORT

_LABEL: Final = re.compile(
    r"([1-9][0-9]{0,4})--([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})", re.ASCII
)
_INNER: Final = re.compile(r"http://(?:localhost|127\.0\.0\.1):([1-9][0-9]{0,4})(?=[/?#]|$)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class PortName:
    """One port of one session."""

    port: int
    session_id: UUID

    @property
    def label(self) -> str:
        """The first label of its host name."""
        return f"{self.port}--{self.session_id}"


class PortNames:
    """The names below one host, which is empty where the deployment has none."""

    def __init__(self, host: str, public_url: str) -> None:
        self._ending = f".{host.lower()}" if host else ""
        parts = urlsplit(public_url)
        self.scheme = parts.scheme
        self._port = "" if parts.port is None else f":{parts.port}"

    def __bool__(self) -> bool:
        return bool(self._ending)

    def parse(self, header: str) -> PortName | None:
        """Return the port that a `Host` header names; None for every other name."""
        name = host_name(header)
        if name is None or not self._ending or not name.endswith(self._ending):
            return None
        found = _LABEL.fullmatch(name.removesuffix(self._ending))
        if found is None or int(found[1]) > MAX_PORT:
            return None
        return PortName(int(found[1]), UUID(found[2]))

    def host(self, name: PortName) -> str:
        """Return the host of a port, with the number of the public port if it has one."""
        return f"{name.label}{self._ending}{self._port}"

    def origin(self, name: PortName) -> str:
        """Return the origin of a port."""
        return f"{self.scheme}://{self.host(name)}"

    def of_origin(self, origin: str) -> PortName | None:
        """Return the port that an `Origin` names, or a URL that begins with one; None for every other one.

        The number of the public port may differ, because it may be forwarded.
        """
        try:
            parts = urlsplit(origin)
        except ValueError:
            return None
        return self.parse(parts.netloc) if parts.scheme == self.scheme else None

    def inward(self, url: str, session_id: UUID) -> str:
        """Return a URL of a port of this session as the server in the sandbox knows it; other URLs unchanged."""
        name = self.of_origin(url)
        if name is None or name.session_id != session_id:
            return url
        return f"http://localhost:{name.port}" + url[len(f"{self.scheme}://{urlsplit(url).netloc}") :]

    def outward(self, url: str, session_id: UUID) -> str:
        """Return a URL of the sandbox's loopback as a browser knows it; other URLs unchanged."""
        found = _INNER.match(url)
        if found is None or int(found[1]) > MAX_PORT:
            return url
        return self.origin(PortName(int(found[1]), session_id)) + url[found.end() :]
