"""Where the profiles of a deployment are kept."""

from collections.abc import Mapping
from typing import Any, Protocol


class ProfileSource(Protocol):
    """The profiles file. Methods raise InvalidRequestError, whose text says what is wrong with it."""

    @property
    def name(self) -> str | None:
        """Return the file's name; None for a deployment without a profiles file."""

    async def changed(self) -> bool:
        """Return whether the file may have changed since the last `read`."""

    async def read(self) -> Mapping[str, Any]:
        """Return the content of the file."""
