"""A path parameter that takes any path: Starlette's own `path` ends at a newline, which names of files may have."""

from typing import Final
from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Scope

ANY_PATH: Final = "{path:any_path}"
"""How a route names it."""


class AnyPath(Convertor[str]):
    """The rest of a URL's path, decoded."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """Return the path as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return the path as it is."""
        return value


_UNDECODABLE: Final = "\ufffd"


def exact_path(scope: Scope, path: str, below: str) -> str:
    """Return the path parameter of the request with each byte that is no UTF-8 as half a surrogate pair.

    It is what `os.fsencode` takes: names of files are bytes. `below` is the folder of the route that ends before it.
    """
    before, separator, raw = scope.get("raw_path", b"").decode("latin-1").partition(f"/{below}/")
    if _UNDECODABLE not in path or not separator or "%" in before:
        return path
    return unquote(raw.partition("?")[0], errors="surrogateescape")


def shown_path(path: str) -> str:
    """Return a path of `exact_path` as text."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


register_url_convertor("any_path", AnyPath())
