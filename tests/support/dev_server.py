"""A dev server in a session: HTTP that shows what it was sent, server-sent events, and a WebSocket that echoes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jelmore_client import AsyncJelmore
from tests.support.stack_client import SESSIONS, Api, eventually

SOURCE = """
import base64, gzip, hashlib, json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            return self.echo_frames()
        if self.path == "/events":
            return self.events()
        if self.path == "/packed":
            return self.answer(gzip.compress(b"{}"), 200, [("Content-Encoding", "gzip"), ("ETag", '"1"')])
        if self.path == "/same":
            return self.answer(b"", 304)
        if self.path == "/moved":
            return self.answer(b"", 302, [("Location", f"http://{self.headers['Host']}/there?x=1")])
        if self.path == "/cookies":
            return self.answer(b"", 200, [
                ("Set-Cookie", "app=1; Domain=localhost; Path=/"),
                ("Set-Cookie", "jelmore_port=stolen; Path=/"),
                ("Alt-Svc", 'h3=":1"'), ("Connection", "x-hop"), ("X-Hop", "1"),
            ])
        self.answer(self.seen(b""))

    def do_POST(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size); self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(self.seen(body))

    do_PUT = do_DELETE = do_POST
    do_HEAD = do_GET

    def seen(self, body):
        return json.dumps({
            "method": self.command, "path": self.path, "headers": [[n.lower(), v] for n, v in self.headers.items()],
            "sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body),
        }).encode()

    def answer(self, content, status=200, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        if status != 304:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for number in range(1000):
            self.wfile.write(f"data: {number}\\n\\n".encode()); self.wfile.flush()
            time.sleep(0.3)

    def echo_frames(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        if offered := self.headers.get("Sec-WebSocket-Protocol"):
            self.send_header("Sec-WebSocket-Protocol", offered.split(",")[0].strip())
        self.end_headers()
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                break
            length = head[1] & 127
            length = int.from_bytes(self.rfile.read({126: 2, 127: 8}[length])) if length > 125 else length
            mask = self.rfile.read(4)
            data = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(length)))
            kind = head[0] & 15
            size = bytes([length]) if length < 126 else b"\\x7e" + length.to_bytes(2)
            self.wfile.write(bytes([128 | (10 if kind == 9 else kind)]) + size + data); self.wfile.flush()
            if kind == 8:
                break
        self.close_connection = True

    def log_message(self, *_): pass

server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.daemon_threads = True
server.serve_forever()
"""


@asynccontextmanager
async def dev_server(api: Api, session_id: str, port: int) -> AsyncIterator[int]:
    """Run the server in a terminal of the session, on this port, until the context ends."""
    put = await api.http.put(f"{SESSIONS}/{session_id}/files/dev_server.py", content=SOURCE.encode())
    assert put.is_success, put.text
    async with AsyncJelmore(api.stack.url, api_key=api.stack.api_key) as client:
        session = await client.sessions.get(session_id)
        async with session.terminal("dev", command=f"exec python3 dev_server.py {port}", pty=False) as terminal:

            async def listens() -> bool:
                return port in [each.port for each in await session.ports()]

            await eventually(listens, what=lambda: f"port {port} listens")
            yield port
            await terminal.end()
