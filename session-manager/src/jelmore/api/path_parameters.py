"""A path parameter that takes any path: Starlette's own `path` ends at a newline, which names of files may have."""

from typing import Final

from starlette.convertors import Convertor, register_url_convertor

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


register_url_convertor("any_path", AnyPath())
