"""Bounds the texts of a list: an entry that does not fit in is cut and says so; none is left out."""

from collections.abc import Iterable
from typing import Final

MAX_LISTED_BYTES: Final = 2 * 1024 * 1024
CUT_CHARACTERS: Final = 1000


def listed_texts(texts: Iterable[str], most_bytes: int = MAX_LISTED_BYTES) -> list[str]:
    """Return the texts, whole as long as they fit in `most_bytes` together; a later long one is cut and marked."""
    listed, left = [], most_bytes
    for text in texts:
        size = len(text.encode("utf-8", "replace"))
        is_cut = size > left and len(text) > CUT_CHARACTERS
        listed.append(f"{text[:CUT_CHARACTERS]}… [cut: {len(text)} characters]" if is_cut else text)
        left -= 0 if is_cut else size
    return listed
