"""The WebSocket server of a session, used by runner and manager, which implement its `Backend`.

It depends on the protocol and ASGI, and imports nothing of the runner or the manager.
"""

from jelmore_protocol.websocket_server.accepting import ReservingProtocol
from jelmore_protocol.websocket_server.backend import (
    Admission,
    Backend,
    Client,
    CloseError,
    ConnectionPolicy,
    FrameRefusedError,
    Item,
)
from jelmore_protocol.websocket_server.connection import CONNECTION_KEY, ClosedError, Connection
from jelmore_protocol.websocket_server.limits import (
    READER_FRAME_BYTES,
    WRITER_FRAME_BYTES,
    BytesHeld,
    ConnectionBudget,
    ServerLimits,
    TooManyError,
)
from jelmore_protocol.websocket_server.server import offered_credential, pump, read_after, serve
from jelmore_protocol.websocket_server.terminals import (
    TerminalBackend,
    TerminalConnection,
    serve_terminal,
    serve_trusted,
)
from jelmore_protocol.websocket_server.uvicorn_protocol import WebSocketProtocol

__all__ = [
    "CONNECTION_KEY",
    "READER_FRAME_BYTES",
    "WRITER_FRAME_BYTES",
    "Admission",
    "Backend",
    "BytesHeld",
    "Client",
    "CloseError",
    "ClosedError",
    "Connection",
    "ConnectionBudget",
    "ConnectionPolicy",
    "FrameRefusedError",
    "Item",
    "ReservingProtocol",
    "ServerLimits",
    "TerminalBackend",
    "TerminalConnection",
    "TooManyError",
    "WebSocketProtocol",
    "offered_credential",
    "pump",
    "read_after",
    "serve",
    "serve_terminal",
    "serve_trusted",
]
