"""The demo model in this process, which keeps every request: the proof that an option reached the model."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jelmore_demo.app import create_app
from tests.integration.runner.harness import free_port


class RecordingModel:
    """Passes requests on to the demo model, and keeps their bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.bodies: list[dict[str, Any]] = []
        self.address = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = bytearray()

        async def listen() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                content.extend(message.get("body", b""))
                if not message.get("more_body") and content:
                    self.bodies.append(json.loads(bytes(content)))
                    content.clear()
            return message

        await self._app(scope, listen, send)

    @property
    def turns(self) -> list[dict[str, Any]]:
        """The requests of the conversation: those that offer tools."""
        return [body for body in self.bodies if body.get("tools")]

    @property
    def text(self) -> str:
        """All that the model was sent, as JSON."""
        return json.dumps(self.bodies)


@contextmanager
def recording_model() -> Iterator[RecordingModel]:
    model = RecordingModel(create_app())
    port = free_port()
    config = uvicorn.Config(model, host="127.0.0.1", port=port, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="recording model", daemon=True)
    thread.start()
    model.address = f"tcp:127.0.0.1:{port}"
    while not server.started:
        thread.join(0.01)
    try:
        yield model
    finally:
        server.should_exit = True
        thread.join(10)
