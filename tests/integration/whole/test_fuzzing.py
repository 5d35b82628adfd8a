"""Every operation of the served description, with generated data: no 5xx, and no answer that it does not describe."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.integration.whole.conftest import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
ENDLESS = ("stream", "stream_events")
"""They answer for ever, and Schemathesis reads answers to their end: they are called through `first_bytes`."""

STOPPING = (
    *("drain", "delete_session", "erase_session", "delete_webhook", "revoke_key"),
    *("restart_session", "resume_session"),
)
"""They would end what the other operations are tried on; they have tests of their own."""


_HOP: Final = frozenset({"host", "connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive"})


@contextmanager
def first_bytes(of: str) -> Iterator[str]:
    """Yield the address of a relay that ends each answer after its first piece, so that a stream is a short answer."""

    host, port = of.removeprefix("http://").split(":")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kept = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in _HOP]
            asked = "\r\n".join(
                [f"GET {self.path} HTTP/1.1", f"Host: {host}:{port}", "Connection: close", *kept, "", ""]
            )
            # Written here, because clients refuse to send the headers that this is about.
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                connection.sendall(asked.encode("latin-1"))
                answer = HTTPResponse(connection)
                answer.begin()
                piece = answer.read1(65_536)
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(piece)))
                self.end_headers()
                self.wfile.write(piece)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="first bytes")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fuzz(running: LocalStack, config: Path, *without: str, examples: int) -> None:
    """Run Schemathesis on all operations that end but those of `without`; see `run`."""
    run(running, config, "exclude", *ENDLESS, *without, examples=examples)


def run(running: LocalStack, config: Path, how: str, *names: str, examples: int, at: str | None = None) -> None:
    """Run Schemathesis, with the same data every time; fail with its report. `how` is exclude or include."""
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "--config-file",
        str(config),
        "run",
        f"{running.url}/openapi.json",
        *("--url", at or running.url),
        *("--header", f"X-API-Key: {running.api_key}", "--checks", CHECKS, "--phases", "fuzzing", "--no-color"),
        *("--max-examples", str(examples), "--generation-deterministic", "--continue-on-failure", "--workers", "1"),
        *("--request-timeout", "60", "--suppress-health-check", "all"),
        *(word for name in names for word in (f"--{how}-operation-id", name)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=running.folder)
    report = done.stdout + done.stderr
    assert done.returncode == 0, report[report.find("FAILURES") :][:8000]
    assert "Tested: " in report, report[-2000:]


def undo_settings(http: httpx.Client) -> None:
    """Go back to the configured settings, which the fuzzing may have changed."""
    undone = http.patch("/api/v1/admin/settings", json={"max_sessions": None, "log_level": None})
    assert undone.status_code == 200, undone.text


def test_no_operation_fails_on_strange_data(running: LocalStack) -> None:
    config = running.folder / "strange.toml"
    config.write_text("")
    fuzz(running, config, "drain", examples=9)
    with running.client() as http:
        undo_settings(http)


def test_no_operation_fails_on_a_session_that_exists(running: LocalStack) -> None:
    with running.client() as http:
        session = http.post("/api/v1/sessions", json={"query": "demo> say hello"})
        webhook = http.post("/api/v1/webhooks", json={"url": "http://127.0.0.1:9/hook", "enabled": False})
        assert (session.status_code, webhook.status_code) == (201, 201)
        config = running.folder / "existing.toml"
        config.write_text(
            f'[parameters]\nsession_id = "{session.json()["id"]}"\nwebhook_id = "{webhook.json()["id"]}"\n'
        )
        fuzz(running, config, *STOPPING, examples=9)
        undo_settings(http)
        assert http.get("/health").json()["status"] == "ok"


def test_streams_begin_as_described(running: LocalStack) -> None:
    with running.client() as http:
        session = http.post("/api/v1/sessions", json={"query": "demo> say hello"})
        assert session.status_code == 201, session.text
        config = running.folder / "streams.toml"
        config.write_text(f'[parameters]\nsession_id = "{session.json()["id"]}"\n')
        with first_bytes(running.url) as relay:
            run(running, config, "include", *ENDLESS, examples=25, at=relay)
        assert http.get("/health").json()["status"] == "ok"


def test_a_drain_answers_as_described_and_is_taken_back(running: LocalStack) -> None:
    config = running.folder / "drain.toml"
    config.write_text("")
    run(running, config, "include", "drain", "get_drain", "undo_drain", examples=10)
    with running.client() as http:
        assert http.delete("/api/v1/admin/drain").status_code == 200
        assert http.get("/health").json()["status"] == "ok"
