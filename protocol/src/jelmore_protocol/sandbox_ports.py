"""The WebSocket of one connection to a TCP port in a sandbox, between runner, manager and clients.

A binary frame carries bytes. The text frame `END` says that its sender sends no more bytes and still reads. The
runner closes with 1000 when the other program has closed the connection in order.
"""

from typing import Final

END: Final = "end"
MAX_FRAME_BYTES: Final = 64 * 1024
MAX_CONNECTIONS: Final = 128
"""Connections to the ports of one sandbox at once. A browser opens up to a hundred for one page."""

MAX_PORT: Final = 65535
