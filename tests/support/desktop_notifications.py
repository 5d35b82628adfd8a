"""A desktop that shows notifications: the D-Bus service org.freedesktop.Notifications, on a bus of its own.

Chromium hands its notifications to the desktop, which reports clicks. This is the bus and the service in
one, so that a test can click: a socket that speaks as much of the protocol as Chromium's client asks for.
"""

import asyncio
import itertools
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

SERVICE: Final = "org.freedesktop.Notifications"
_PATH: Final = "/org/freedesktop/Notifications"
_OWNER: Final = ":1.1"
_BUS: Final = "org.freedesktop.DBus"
_RETURN, _ERROR, _SIGNAL = 2, 3, 4
_PATH_FIELD, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_TO, _DESTINATION, _SENDER, _SIGNATURE = range(1, 9)


@dataclass
class Notification:
    """What is shown. `actions` are pairs of a key and a label."""

    id: int
    title: str
    body: str
    actions: list[str]


class _Values:
    """Reads values of a message in their order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def align(self, size: int) -> None:
        self.at += -self.at % size

    def number(self) -> int:
        self.align(4)
        self.at += 4
        return int.from_bytes(self._data[self.at - 4 : self.at], "little")

    def text(self) -> str:
        length = self.number()
        self.at += length + 1
        return self._data[self.at - length - 1 : self.at - 1].decode()

    def signature(self) -> str:
        length = self._data[self.at]
        self.at += length + 2
        return self._data[self.at - length - 1 : self.at - 1].decode()

    def byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def texts(self) -> list[str]:
        end = self.number() + self.at
        found = []
        while self.at < end:
            found.append(self.text())
        return found


def _aligned(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)


def _packed(signature: str, *values: object) -> bytes:
    """Return values of the kinds s, o, u, b and `a` (a list of texts) one after another."""
    data = b""
    for kind, value in zip(signature.replace("as", "a"), values, strict=True):
        data = _aligned(data, 4)
        if kind == "a":
            assert isinstance(value, list)
            inner = b""
            for each in value:
                inner = _aligned(inner, 4) + _packed("s", each)
            data += struct.pack("<I", len(inner)) + inner
        elif kind in "ub":
            assert isinstance(value, int)
            data += struct.pack("<I", value)
        else:
            assert isinstance(value, str)
            text = value.encode()
            data += struct.pack("<I", len(text)) + text + b"\0"
    return data


def _message(kind: int, serial: int, fields: dict[int, tuple[str, object]], signature: str, *values: object) -> bytes:
    body = _packed(signature, *values)
    named = {**fields, _SENDER: ("s", fields.get(_SENDER, ("s", _OWNER))[1])}
    array = b""
    for code, (form, value) in (named | ({_SIGNATURE: ("g", signature)} if signature else {})).items():
        array = _aligned(array, 8) + bytes([code, 1]) + form.encode() + b"\0"
        if form == "g":
            array += bytes([len(str(value))]) + str(value).encode() + b"\0"
        else:
            array = _aligned(array, 4) + _packed(form, value)
    head = struct.pack("<cBBBIII", b"l", kind, 1, 1, len(body), serial, len(array))
    return _aligned(head + array, 8) + body


@dataclass
class Desktop:
    """Give `address` to the browser as DBUS_SESSION_BUS_ADDRESS."""

    shown: list[Notification] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._serials = itertools.count(1)
        self._ids = itertools.count(1)
        self._clients: list[asyncio.StreamWriter] = []
        self._folder = tempfile.TemporaryDirectory()  # a socket's path must be short
        path = Path(self._folder.name) / "bus"
        self._server = await asyncio.start_unix_server(self._serve, path)
        self.address = f"unix:path={path}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for each in self._clients:
            each.close()
        self._folder.cleanup()

    def click(self, notification: Notification) -> None:
        """Report a click on the notification, as a desktop does."""
        fields = {_PATH_FIELD: ("o", _PATH), _INTERFACE: ("s", SERVICE), _MEMBER: ("s", "ActionInvoked")}
        for each in self._clients:
            each.write(_message(_SIGNAL, next(self._serials), {**fields}, "us", notification.id, "default"))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.append(writer)
        try:
            await self._sign_in(reader, writer)
            while True:
                head = await reader.readexactly(16)
                body, _, fields = struct.unpack("<III", head[4:])
                rest = await reader.readexactly(fields + -fields % 8 + body)
                self._answer(writer, head + rest, 16 + fields + -fields % 8)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    async def _sign_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)  # a NUL byte
        while (line := (await reader.readuntil(b"\r\n")).split())[0] != b"BEGIN":
            writer.write(b"OK 0123456789abcdef0123456789abcdef\r\n" if line[0] == b"AUTH" else b"ERROR\r\n")

    def _answer(self, writer: asyncio.StreamWriter, data: bytes, start: int) -> None:
        serial = int.from_bytes(data[8:12], "little")
        values = _Values(data)
        values.at = 16
        fields: dict[int, object] = {}
        while values.at < 16 + int.from_bytes(data[12:16], "little"):
            values.align(8)
            code = values.byte()
            form = values.signature()
            fields[code] = values.signature() if form == "g" else values.number() if form == "u" else values.text()
        signature, answer = self._result(str(fields.get(_MEMBER)), _Values(data[start:]))
        sender = _BUS if fields.get(_DESTINATION) == _BUS else _OWNER
        about = {_REPLY_TO: ("u", serial), _SENDER: ("s", sender), _DESTINATION: ("s", ":1.2")}
        if signature is None:
            about[_ERROR_NAME] = ("s", "org.freedesktop.DBus.Error.UnknownMethod")
            writer.write(_message(_ERROR, next(self._serials), {**about}, ""))
        elif data[1] == 1:
            writer.write(_message(_RETURN, next(self._serials), {**about}, signature, *answer))

    def _result(self, member: str, values: _Values) -> tuple[str | None, list[object]]:
        match member:
            case "Hello":
                return "s", [":1.2"]
            case "GetNameOwner":
                return "s", [_OWNER]
            case "NameHasOwner":
                return "b", [int(values.text() == SERVICE)]
            case "ListNames" | "ListActivatableNames":
                return "as", [[_BUS, SERVICE]]
            case "RequestName" | "StartServiceByName":
                return "u", [1]
            case "AddMatch" | "RemoveMatch" | "CloseNotification":
                return "", []
            case "GetCapabilities":
                return "as", [["actions", "body"]]
            case "GetServerInformation":
                return "ssss", ["desktop", "test", "1", "1.2"]
            case "Notify":
                return "u", [self._show(values)]
            case _:
                return None, []

    def _show(self, values: _Values) -> int:
        values.text()  # the program
        replaces = values.number()
        values.text()  # the icon
        made = Notification(replaces or next(self._ids), values.text(), values.text(), values.texts())
        self.shown.append(made)
        return made.id
