"""Reads the server name from the first bytes that a TLS client sends. Pure, bounded, and strict.

It reads exactly one ClientHello, which may be spread over several records. What it does not understand it refuses:
a server may read odd bytes in another way than this parser does.
"""

from dataclasses import dataclass, field
from typing import Final

MAX_HELLO_BYTES: Final = 32 * 1024
MAX_RECORD_BYTES: Final = 16 * 1024
MAX_RECORDS: Final = 16
RECORD_HEAD_BYTES: Final = 5
MESSAGE_HEAD_BYTES: Final = 4

_HANDSHAKE: Final = 0x16
_CLIENT_HELLO: Final = 1
_TLS_MAJOR: Final = 3
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
_ENCRYPTED_HELLO: Final = frozenset({0xFE0D, 0xFFCE, 0xFF02, 0xFF03})
"""Encrypted Client Hello, its drafts, and the encrypted server name before it."""


class NotTlsError(ValueError):
    """The bytes are no ClientHello that this parser accepts. The text says why."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What the proxy needs to know of a ClientHello."""

    server_name: str | None
    encrypted: bool  # offers an encrypted ClientHello, or pretends to


@dataclass(slots=True)
class _Cursor:
    """Reads fields of a message. Raises NotTlsError when the message is shorter than it says."""

    data: bytes
    at: int = field(default=0)

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise NotTlsError("a field of the ClientHello is longer than the rest of it")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> "_Cursor":
        return _Cursor(self.take(self.number(size)))

    def done(self) -> bool:
        return self.at == len(self.data)


def read_client_hello(data: bytes) -> ClientHello | int:
    """Return the ClientHello at the start of `data`, or how many bytes are needed at least before one can be read.

    Raises NotTlsError. A caller that waits for the bytes needed calls this a few times only, however they arrive.
    """
    message = bytearray()
    at = 0
    for _ in range(MAX_RECORDS):
        end = _record_end(data, at)
        if end > len(data):
            return end
        message += data[at + RECORD_HEAD_BYTES : end]
        at = end
        if len(message) < MESSAGE_HEAD_BYTES:
            continue
        if message[0] != _CLIENT_HELLO:
            raise NotTlsError("the first TLS message is not a ClientHello")
        length = int.from_bytes(message[1:MESSAGE_HEAD_BYTES])
        if length > MAX_HELLO_BYTES:
            raise NotTlsError(f"the ClientHello is longer than {MAX_HELLO_BYTES} bytes")
        if len(message) > MESSAGE_HEAD_BYTES + length:
            raise NotTlsError("bytes follow the ClientHello in its record")
        if len(message) == MESSAGE_HEAD_BYTES + length:
            return _parse(bytes(message[MESSAGE_HEAD_BYTES:]))
    raise NotTlsError("the ClientHello is spread over too many records")


def _record_end(data: bytes, at: int) -> int:
    """Return where the record at `at` ends, or its head while that is incomplete. Raises NotTlsError."""
    head = data[at : at + RECORD_HEAD_BYTES]
    if (head and head[0] != _HANDSHAKE) or (len(head) > 1 and head[1] != _TLS_MAJOR):
        raise NotTlsError("this is not the start of a TLS connection")
    if len(head) < RECORD_HEAD_BYTES:
        return at + RECORD_HEAD_BYTES
    length = int.from_bytes(head[3:])
    if not 0 < length <= MAX_RECORD_BYTES:
        raise NotTlsError(f"a TLS record of {length} bytes")
    return at + RECORD_HEAD_BYTES + length


def _parse(body: bytes) -> ClientHello:
    cursor = _Cursor(body)
    cursor.take(2 + 32)  # version and random
    cursor.vector(1)  # session id
    cursor.vector(2)  # cipher suites
    cursor.vector(1)  # compression methods
    if cursor.done():
        return ClientHello(None, encrypted=False)
    extensions = cursor.vector(2)
    if not cursor.done():
        raise NotTlsError("bytes follow the extensions of the ClientHello")
    seen: set[int] = set()
    name: str | None = None
    while not extensions.done():
        kind = extensions.number(2)
        content = extensions.vector(2)
        if kind in seen:
            raise NotTlsError(f"the ClientHello has extension {kind} twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            name = _server_name(content)
    return ClientHello(name, encrypted=not seen.isdisjoint(_ENCRYPTED_HELLO))


def _server_name(content: _Cursor) -> str:
    names = content.vector(2)
    kind, name = names.number(1), names.vector(2)
    if not names.done() or not content.done() or kind != _HOST_NAME:
        raise NotTlsError("the ClientHello names more than one server")
    try:
        return name.data.decode("ascii")
    except UnicodeDecodeError:
        raise NotTlsError("the server name is not ASCII") from None


def alert(description: int) -> bytes:
    """Return a fatal TLS alert as a record, which clients show to their users better than a closed connection."""
    return bytes((0x15, _TLS_MAJOR, 1, 0, 2, 2, description))


UNRECOGNIZED_NAME: Final = 112
ACCESS_DENIED: Final = 49
