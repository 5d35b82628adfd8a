"""Carries bytes between a client and a host, after the client's first bytes have been checked."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from jelmore_gateway.egress.client_hello import ClientHello, NotTlsError, read_client_hello
from jelmore_gateway.egress.http_side import GoneError
from jelmore_gateway.egress.limits import BUFFER_BYTES, Deadlines
from jelmore_gateway.egress.policy import Reason, Refusal, Target
from jelmore_protocol.network import literal_address

TLS_FIRST_BYTE: Final = 0x16


class RefusedError(Exception):
    """What came out of the tunnel is not what it was opened for."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


def hello_refusal(hello: ClientHello, target: Target) -> Refusal | None:
    """Return why a tunnel to `target` cannot carry a connection that begins with `hello`."""
    if hello.encrypted:
        text = f"the connection to {target} hides its server name (Encrypted Client Hello); switch that off"
        return Refusal(Reason.ENCRYPTED_HELLO, text)
    if hello.server_name is None and literal_address(target.host) is not None:
        return None
    if hello.server_name is None or hello.server_name.removesuffix(".").lower() != target.host:
        named = repr(hello.server_name[:80]) if hello.server_name is not None else "no server"
        return Refusal(Reason.SERVER_NAME_DIFFERS, f"a tunnel to {target.host} was used for {named}")
    return None


async def read_hello(reader: asyncio.StreamReader, first: bytes, target: Target, deadlines: Deadlines) -> bytes:
    """Return the bytes of a ClientHello that fits the target, with what followed it.

    Raises RefusedError; GoneError when the client leaves or is too slow.
    """
    data = bytearray(first)
    try:
        async with asyncio.timeout(deadlines.hello_s):
            while isinstance(found := read_client_hello(bytes(data)), int):
                while len(data) < found:
                    chunk = await reader.read(BUFFER_BYTES)
                    if not chunk:
                        raise GoneError("the client left before its ClientHello was complete")
                    data += chunk
    except NotTlsError as error:
        text = f"the tunnel to {target} must carry TLS: {error}"
        raise RefusedError(Refusal(Reason.NOT_TLS, text)) from None
    except (TimeoutError, OSError) as error:
        raise GoneError(str(error) or "no ClientHello in time") from None
    refusal = hello_refusal(found, target)
    if refusal is not None:
        raise RefusedError(refusal)
    return bytes(data)


@dataclass(slots=True)
class Relay:
    """Copies in both directions until the host ends or nothing moves for `silence_s`."""

    deadlines: Deadlines
    spend: Callable[[int], None]
    pace: Callable[[int], Awaitable[None]]
    _moved_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy until the end of `reader`, then end `writer`. Raises GoneError."""
        try:
            while data := await self._read(reader):
                self.spend(len(data))
                await self.pace(len(data))
                writer.write(data)
                async with asyncio.timeout(self.deadlines.write_s):
                    await writer.drain()
                self._moved_at = asyncio.get_running_loop().time()
            if writer.can_write_eof():
                writer.write_eof()
        except (TimeoutError, OSError) as error:
            raise GoneError(str(error) or "nothing moved for too long") from None

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        """Return what arrives; the other direction's bytes count as a sign of life. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        while True:
            left_s = self._moved_at + self.deadlines.silence_s - loop.time()
            if left_s <= 0:
                raise TimeoutError
            try:
                async with asyncio.timeout(left_s):
                    return await reader.read(BUFFER_BYTES)
            except TimeoutError:
                continue
