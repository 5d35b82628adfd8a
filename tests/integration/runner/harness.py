"""A real runner with a real Claude Code and the demo model, and clients of its two sockets."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed

from jelmore_protocol import PROTOCOL, SUBPROTOCOL
from jelmore_protocol.tokens import Audience, Claims, Scope, sign

DEADLINE_S = 60.0
GATEWAY_TOKEN = "token-of-the-gateway"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def eventually(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Return the first true answer of `condition` (plain or async)."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        answer = condition()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {deadline_s} s: {what}")


class Keys:
    """The manager's key pair."""

    def __init__(self) -> None:
        key = Ed25519PrivateKey.generate()
        self.private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        self.public = (
            key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )


class Runner:
    """One session folder and, one after another, the runner processes on it."""

    def __init__(self, folder: Path, gateway: str) -> None:
        self.folder = folder
        self.gateway = gateway
        self.session_id = str(uuid4())
        self.keys = Keys()
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}

    @property
    def journal(self) -> Path:
        return self.folder / "session" / "state" / "journal.jsonl"

    def start(self) -> float:
        """Start a process and return its start time (monotonic)."""
        settings = {
            "JELMORE_RUNNER_CONTROL": f"unix:{self.folder}/c.sock",
            "JELMORE_RUNNER_PUBLIC": f"unix:{self.folder}/p.sock",
            "JELMORE_RUNNER_GATEWAY": self.gateway,
            "JELMORE_RUNNER_SESSION_DIR": str(self.folder / "session"),
            "SECRET_OF_THE_OPERATOR": "must-not-reach-the-agent",
        }
        began = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jelmore_runner"],
                # PYTHONPATH leads to the changed copy of the code when a mechanism is taken away.
                env={
                    **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
                    **settings,
                    **self.environment,
                },
                stdout=log,
                stderr=log,
            )
        return began

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def terminate(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    async def call(self, path: str, body: object = None) -> httpx.Response:
        """Call the control socket: GET without a body, else POST."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.folder / "c.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://runner", timeout=DEADLINE_S) as client:
            if body is None:
                return await client.get(path)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            return await client.post(path, content=content)

    async def listening(self) -> None:
        async def answers() -> bool:
            try:
                return (await self.call("/health")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(answers, "the control socket answers")

    async def health(self) -> dict[str, Any]:
        return dict((await self.call("/health")).json())

    def init_body(self, generation: int = 1, **more: Any) -> dict[str, Any]:
        return {
            "protocol": PROTOCOL,
            "session_id": self.session_id,
            "generation": generation,
            "options": {},
            "token_public_key": self.keys.public,
            "gateway_token": GATEWAY_TOKEN,
            **more,
        }

    async def begin(self, generation: int = 1, **more: Any) -> None:
        """Start a process and bring it to `ready`."""
        self.start()
        await self.listening()
        answer = await self.call("/init", self.init_body(generation, **more))
        assert answer.status_code == 200, answer.text
        await self.until_phase("ready")

    async def until_phase(self, phase: str) -> dict[str, Any]:
        async def reached() -> dict[str, Any] | None:
            health = await self.health()
            return health if health["phase"] == phase else None

        return dict(await eventually(reached, f"phase {phase}"))

    async def stop(self, **more: Any) -> None:
        await self.call("/stop", {"reason": "test over", "grace_s": 5, **more})
        await self.until_phase("ended")

    def token(self, **changes: Any) -> str:
        claims: dict[str, Any] = {
            "session_id": self.session_id,
            "audience": Audience.SESSION,
            "scopes": frozenset({Scope.READ, Scope.WRITE}),
            "subject": "tester",
            "expires_at": int(time.time()) + 3600,
        }
        return sign(Claims(**{**claims, **changes}), self.keys.private)

    @asynccontextmanager
    async def open(self, after: int | None = 0, token: str | None = None, **more: Any) -> AsyncIterator["Client"]:
        """Connect to the public socket, with a good token unless given another (an empty one: none)."""
        given = self.token() if token is None else token
        headers = {"Authorization": f"Bearer {given}"} if given else {}
        query = "" if after is None else f"?after={after}"
        more.setdefault("subprotocols", [SUBPROTOCOL])
        async with unix_connect(
            str(self.folder / "p.sock"),
            uri=f"ws://session/ws{query}",
            additional_headers=headers,
            max_size=64 * 1024 * 1024,
            compression=None,
            **more,
        ) as socket_:
            yield Client(socket_)

    @asynccontextmanager
    async def relay(self, after: int = 0) -> AsyncIterator["Client"]:
        uri = f"ws://runner/relay?after={after}"
        path = str(self.folder / "c.sock")
        async with unix_connect(path, uri=uri, max_size=64 * 1024 * 1024, compression=None) as socket_:
            yield Client(socket_)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines()]


class Client:
    """A reader that keeps what it saw."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[dict[str, Any]] = []
        self.closed: int | None = None

    @property
    def events(self) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == "event"]

    @property
    def seqs(self) -> list[int]:
        return [event["seq"] for event in self.events]

    async def send(self, **frame: Any) -> Self:
        await self.connection.send(json.dumps(frame))
        return self

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            frame: dict[str, Any] = json.loads(await self.connection.recv())
        self.frames.append(frame)
        return frame

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read on until a frame fits."""
        while True:
            frame = await self.next()
            if condition(frame):
                return frame

    async def reply(self, frame_id: str) -> dict[str, Any]:
        """Return the ack, error or pong to a frame; it may have come before what was read last."""

        def fits(frame: dict[str, Any]) -> bool:
            return frame["type"] in {"ack", "error", "pong"} and frame.get("id") == frame_id

        return next(filter(fits, self.frames), None) or await self.until(fits)

    async def until_event(self, kind: str, **data: Any) -> dict[str, Any]:
        """Read on until an event of this kind whose data has these values."""

        def fits(frame: dict[str, Any]) -> bool:
            return frame.get("kind") == kind and all(frame["data"].get(name) == value for name, value in data.items())

        return await self.until(fits)

    async def until_result(self, input_id: str) -> dict[str, Any]:
        """Read on until the end of an input's turn and return the result message."""
        event = await self.until(
            lambda frame: (
                frame.get("kind") == "message"
                and frame["data"]["input_id"] == input_id
                and frame["data"]["message"]["type"] == "result"
            )
        )
        return dict(event["data"]["message"])

    async def until_closed(self) -> int:
        """Read on to the end and return the close code."""
        try:
            while True:
                await self.next()
        except ConnectionClosed as closed:
            self.closed = closed.rcvd.code if closed.rcvd else 1006
            return self.closed
