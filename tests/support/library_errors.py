"""The error classes of the libraries at our edges, each to be raised where the library would raise it."""

import inspect
from typing import Any

import aiohttp
import h11


def classes(module: Any, base: type[Exception]) -> list[type[Exception]]:
    """Return the classes of a module that derive from `base`."""
    return [kind for kind in vars(module).values() if inspect.isclass(kind) and issubclass(kind, base)]


OF_AIOHTTP = [*classes(aiohttp, aiohttp.ClientError), OSError, ConnectionResetError, TimeoutError, ValueError]
OF_H11 = classes(h11, h11.ProtocolError)


def built(kind: type[Exception]) -> Exception:
    """Return an instance of a subclass: constructors of libraries differ, and what they are given does not matter."""
    members = {"__init__": lambda self: Exception.__init__(self, "words"), "__str__": lambda _: "words", "status": 500}
    made: Exception = type(kind.__name__, (kind,), members)()
    return made
