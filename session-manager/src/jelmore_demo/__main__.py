"""`python -m jelmore_demo --listen unix:/path | tcp:127.0.0.1:8900`: serve the demo model until SIGINT or SIGTERM."""

import argparse
import asyncio
import contextlib
import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from jelmore_demo.app import create_app

LAST_PORT = 65_535
STOP_DEADLINE_S = 1
CANNOT_LISTEN = 3  # the status that uvicorn uses for it


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a socket's path, or a host and a port."""

    path: str | None = None
    host: str = "127.0.0.1"
    port: int = 0


def address(text: str) -> Address:
    """Parse `unix:/path` or `tcp:host:port`. Raises ArgumentTypeError."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        return Address(path=rest)
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and port.isascii() and port.isdecimal() and int(port) <= LAST_PORT:
        return Address(host=host.strip("[]"), port=int(port))
    raise argparse.ArgumentTypeError(f"{text!r} is neither unix:/path nor tcp:host:port")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then remove the socket file."""
    parser = argparse.ArgumentParser(prog="jelmore_demo", description="The demo model: a scripted Messages API.")
    parser.add_argument(
        "--listen", type=address, default=Address(port=8900), help="unix:/path or tcp:host:port (tcp:127.0.0.1:8900)"
    )
    listen: Address = parser.parse_args(arguments).listen
    config = uvicorn.Config(
        create_app(),
        uds=listen.path,
        host=listen.host,
        port=listen.port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=STOP_DEADLINE_S,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_not_the_stop)
    # After a clean stop uvicorn raises the signal again; SIGTERM's default would end the process before the cleanup.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = uvicorn.Server(config)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
    except OSError as error:
        parser.exit(CANNOT_LISTEN, f"jelmore_demo: cannot listen on {listen.path or listen.host}: {error.strerror}\n")
    finally:
        if listen.path and server.started:  # otherwise the socket belongs to another process
            Path(listen.path).unlink(missing_ok=True)


def _is_not_the_stop(record: logging.LogRecord) -> bool:
    """Filter out the tracebacks of replies that the stop interrupted: they are not errors."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, asyncio.CancelledError)


if __name__ == "__main__":
    main()
