"""What reads bytes of somebody who is not trusted, as functions of bytes. Each raises for a fault, never for bad bytes.

`tests/unit/test_fuzz_targets.py` runs them on altered examples for seconds; `python -m tests.fuzz` with coverage as a
guide for as long as you like.
"""

import json
import re
import ssl
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h11

from jelmore.drivers.runner_answers import refusal_error
from jelmore.session.journal import JournalReader
from jelmore.session.output import parse
from jelmore_gateway.egress.client_hello import ClientHello, NotTlsError, read_client_hello
from jelmore_gateway.egress.limits import MAX_HEAD_BYTES
from jelmore_gateway.egress.requests import Forward, Tunnel, read_inner_request, read_request
from jelmore_gateway.named_routes import Target as RouteTarget
from jelmore_gateway.sse_transport import EndpointRewriter, StreamError
from jelmore_gateway.stdio.conversation import RequestRefusedError, is_request, read_message
from jelmore_protocol.frames import BadFrameError, decode_client_frame
from jelmore_protocol.gateway import Route
from jelmore_runner.journal_file import open_journal_file


@dataclass(frozen=True, slots=True)
class FuzzTarget:
    """A reader, and examples of what it reads."""

    read: Callable[[bytes], None]
    examples: tuple[bytes, ...]


def client_frame(data: bytes) -> None:
    """A frame that a client sends to a session: it is one of the known ones, or refused."""
    with suppress(BadFrameError):
        frame = decode_client_frame(data.decode("utf-8", "replace"))
        assert decode_client_frame(frame.model_dump_json()) == frame


def output_line(data: bytes) -> None:
    """A line that a runner sends to a manager: its text is kept but for spaces, its number is one."""
    text = data.decode("utf-8", "replace")
    output = parse(text)
    if output is not None:
        assert output.seq >= 1
        assert output.at.tzinfo is not None
        assert output.text == "".join(max(each, " ") for each in text)
        assert isinstance(output.data, dict)


def journal_of_a_volume(data: bytes) -> None:
    """A journal that a manager reads: without a gap, and the same in one piece and in several.

    The latter holds only while its numbers ascend: a reader skips a piece whose last line is stored already.
    """
    whole = JournalReader(0).feed(data)
    assert [output.seq for output in whole] == list(range(1, len(whole) + 1))
    reader, step = JournalReader(0), 1 + len(data) // 3
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    parts = [output for piece in pieces for output in reader.feed(piece)]
    assert [output.seq for output in parts] == list(range(1, len(parts) + 1))
    numbers = [int(found) for found in _SEQ.findall(data)]
    assert parts == whole or numbers != sorted(set(numbers) | {1})


def journal_file(data: bytes) -> None:
    """A runner's own journal after a crash or on a bad disk: what is kept reads the same the next time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(data)
        events: list[list[Mapping[str, Any]]] = [[], []]
        for found in events:
            journal = open_journal_file(path, found.append)
            kept = journal.size
            journal.close()
            assert path.stat().st_size == kept
        assert data.startswith(path.read_bytes())
        assert events[0] == events[1]


def runner_refusal(data: bytes) -> None:
    """An error response of a runner becomes one of our errors."""
    refusal_error(409, data)


def request_head(data: bytes) -> None:
    """A request to the proxy: what is sent on is one request, to the target that was checked, with the same body."""
    client = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    try:
        client.receive_data(data)
        asked = client.next_event()
    except h11.RemoteProtocolError:
        return
    if not isinstance(asked, h11.Request):
        return
    found = read_request(asked.method, asked.target, asked.http_version, asked.headers)
    if isinstance(found, Tunnel):
        assert 0 < found.target.port < 2**16
        found = read_inner_request(found.target, asked.target, asked.http_version, asked.headers)
    if not isinstance(found, Forward):
        return
    upstream = h11.Connection(h11.CLIENT)
    sent = upstream.send(h11.Request(method=asked.method, target=found.path, headers=found.headers))
    assert sent is not None
    assert sent.count(b"\r\n\r\n") == 1
    assert sent.endswith(b"\r\n\r\n")
    line, *lines = sent[:-4].split(b"\r\n")
    assert line == b"%s %s HTTP/1.1" % (asked.method, found.path)
    assert not any(byte in line + b"".join(lines) for byte in b"\r\n\0")
    names = [each.partition(b":")[0].lower() for each in lines]
    hosts = [each.partition(b":")[2].strip() for each in lines if each.lower().startswith(b"host:")]
    assert hosts in ([str(found.target).encode()], [str(found.target).removesuffix(":80").encode()])
    for framing in (b"content-length", b"transfer-encoding"):
        assert names.count(framing) == sum(name == framing for name, _ in asked.headers)
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1


def client_hello(data: bytes) -> None:
    """The beginning of a tunnel: a ClientHello is found at the same place however it arrives, or refused."""
    try:
        found = read_client_hello(data)
    except NotTlsError:
        return
    if not isinstance(found, ClientHello):
        assert found > len(data)
        return
    assert read_client_hello(data + b"more") == found
    needed = read_client_hello(data[: len(data) // 2])
    assert needed == found or (isinstance(needed, int) and needed <= len(data))


def mcp_message(data: bytes) -> None:
    """A message to a stdio server: a JSON object of the protocol, that is one line again."""
    with suppress(RequestRefusedError):
        message = read_message(data)
        assert message["jsonrpc"] == "2.0"
        assert not is_request(message) or isinstance(message["id"], str | int)
        assert b"\n" not in json.dumps(message, separators=(",", ":")).encode()


def sse_stream(data: bytes) -> None:
    """The beginning of a stream of the older transport: it leads to a path on the route, on the same server."""
    route = Route(name="mcp/docs", url="https://docs.example/sse")
    rewriters = [EndpointRewriter(RouteTarget(route, route.url)) for _ in range(2)]
    step = 1 + len(data) // 3
    try:
        passed = [
            rewriters[0].feed(data),
            b"".join(rewriters[1].feed(data[at : at + step]) for at in range(0, len(data), step)),
        ]
    except StreamError:
        return
    assert passed[0] == passed[1]
    if rewriters[0].url:
        assert rewriters[0].url.startswith("https://docs.example")
        assert rewriters[0].path.startswith("/mcp/docs")
        assert not any(mark in rewriters[0].path for mark in "\r\n ")


def _hello(*protocols: str) -> bytes:
    """Return the ClientHello of Python's ssl for example.com."""
    context, outgoing = ssl.create_default_context(), ssl.MemoryBIO()
    context.set_alpn_protocols(list(protocols))
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="example.com")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    assert read_client_hello(hello) == ClientHello("example.com", encrypted=False)
    return hello


_SEQ: Final = re.compile(rb'"seq":([0-9]{1,16})')
_EVENT: Final = b'{"type":"event","seq":%d,"kind":"message","at":"2026-01-01T00:00:00.000Z","data":{"a":"\xc3\xa4"}}'
TARGETS: Final[Mapping[str, FuzzTarget]] = {
    "client-frame": FuzzTarget(
        client_frame,
        (
            b'{"type":"input","id":"1","input":"hello","expand":true}',
            b'{"type":"input","input":[{"type":"text","text":"a"}]}',
            b'{"type":"permission","request_id":"r","decision":"allow","remember":"session"}',
            b'{"type":"auth","token":"x"}',
        ),
    ),
    "output-line": FuzzTarget(output_line, (_EVENT % 1, _EVENT % (10**15))),
    "journal-of-a-volume": FuzzTarget(journal_of_a_volume, (b"\n".join(_EVENT % seq for seq in (1, 2, 3)) + b"\n",)),
    "journal-file": FuzzTarget(
        journal_file,
        (
            b"\n".join(_EVENT % seq for seq in (1, 2, 9)) + b"\n",
            _EVENT % 1 + b"\n" + _EVENT % (10**30) + b"\n",
            (_EVENT % 1).replace(b":1,", b":true,") + b"\n",
        ),
    ),
    "runner-refusal": FuzzTarget(runner_refusal, (b'{"code":"conflict","message":"no"}',)),
    "request-head": FuzzTarget(
        request_head,
        (
            b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
            (
                b"POST http://example.com:8080/a?b#c HTTP/1.1\r\nHost: other\r\nConnection: x, close\r\nX: 1\r\n"
                b"Content-Length: 3\r\n\r\nabc"
            ),
            b"GET http://[2001:db8::1]/ HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
            b"PUT http://example.com HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
    ),
    "client-hello": FuzzTarget(client_hello, (_hello("h2", "http/1.1"), _hello("http/1.1"))),
    "mcp-message": FuzzTarget(
        mcp_message, (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\\n","arguments":{}}}',)
    ),
    "sse-stream": FuzzTarget(
        sse_stream,
        (
            b"event: endpoint\r\ndata: /messages?id=1#x\r\n\r\ndata: hello\n\n",
            b": ping\n\nevent: endpoint\ndata: m\n\n",
        ),
    ),
}
