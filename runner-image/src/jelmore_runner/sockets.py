"""Listening sockets. No heavy imports here: the sockets must exist within milliseconds."""

import os
import socket
from pathlib import Path
from typing import Final

from jelmore_runner.settings import Address

BACKLOG: Final = 512
SOCKET_MODE: Final = 0o666


def bind(address: Address) -> socket.socket:
    """Return a listening socket. Replaces a stale socket file. Raises OSError.

    The manager moves a socket away as soon as it sees its name. So the socket gets this name last: gVisor makes the
    file, looks it up again, and fails with ENOENT when it is gone by then.
    """
    if address.path is None:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
    else:
        new = Path(address.path).with_suffix(".new")  # no longer than the name itself: a socket's path has a bound
        new.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o777 & ~SOCKET_MODE)  # the folder controls access
        try:
            listener.bind(str(new))
        finally:
            os.umask(before)
    listener.listen(BACKLOG)  # callers wait in the kernel's queue during the imports
    listener.setblocking(False)
    if address.path is not None:
        new.rename(address.path)
    return listener
