"""Finds the output that records an input."""

from typing import Final
from uuid import UUID

from jelmore.ports import Store

_PAGE: Final = 100
_PAGE_BYTES: Final = 4 * 1024 * 1024


async def recorded_seq(store: Store, session_id: UUID, input_id: str, after: int = 0) -> int | None:
    """Return the seq of the output that records an input: behind `after`, or before it if its id ran earlier.

    None when there is none. Raises DependencyError.
    """
    for first in dict.fromkeys((after, 0)):
        at, more = first, True
        while more:
            page = await store.output(session_id, at, _PAGE, ("input",), max_bytes=_PAGE_BYTES)
            found = next((each.seq for each in page if each.data.get("id") == input_id), None)
            if found is not None:
                return found
            at, more = (page[-1].seq if page else at), page.more
    return None
